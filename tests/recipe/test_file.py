"""Recipes as files: what is wrong is said all at once, in the right place; what is written reads back the same."""

import textwrap
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lbadvisor.errors import RecipeError, RecipeProblem, UsageError
from lbadvisor.recipe.catalog import NETWORKS
from lbadvisor.recipe.file import checked, dump_recipe, load_recipe
from lbadvisor.recipe.parts import PARTS, Addition
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import scaled
from lbadvisor.running_statistics import DEFINITIONS

DIGITS = """\
schema = 1
name = "small"

[data]
name = "digits"
train_examples = 1000

[model]
name = "digits_mlp"

[batch]
size = 50

[optimizer]
name = "sgd"
lr = 0.1

[schedule]
epochs = 10.0

[[schedule.milestones]]
epoch = 5.0
lr_factor = 0.1
"""
"""20 updates per epoch, 200 in all."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(DIGITS, encoding="utf-8")
    return path


def problems(path: Path, text: str, *overrides: str) -> tuple[RecipeProblem, ...]:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    assert caught.value.origin == str(path)
    return caught.value.problems


def one_problem(path: Path, old: str, new: str) -> RecipeProblem:
    assert DIGITS.count(old) == 1
    (problem,) = problems(path, DIGITS.replace(old, new))
    return problem


def test_a_file_becomes_the_recipe_that_it_says(file):
    recipe = load_recipe(file)
    assert (recipe.name, recipe.data.train_examples, recipe.batch.size) == ("small", 1000, 50)
    assert (recipe.schedule.milestones[0].epoch, recipe.schedule.milestones[0].lr_factor) == (5.0, 0.1)


def test_every_problem_is_told_with_its_place_in_the_order_of_the_file(file):
    text = textwrap.dedent(
        """\
        schema = 1
        name = "small"
        description = '''
        [batch]  # no header
        '''
        data = {name = "digits", train_exampels = 3, train_examples = 1000}
        [schedule]
        epochs = 10.0
          [[ schedule . milestones ]]
        epoch = 5.0
        lr_factor = -0.5
        [optimizer]
        lr = "é"  # a comment
        name = "sgd"
        [batch] # is empty
        [model]
        name = "digits_mpl"
        """
    )
    found = problems(file, text)
    assert [(p.line, p.column, p.field, p.message, p.hint) for p in found] == [
        (6, 26, "data.train_exampels", "unknown key", "did you mean `train_examples`?"),
        (11, 13, "schedule.milestones[0].lr_factor", "must be greater than 0, is -0.5", None),
        (13, 6, "optimizer.lr", 'must be a number, is "é"', None),
        (15, 1, "batch.size", "is missing", "examples per update, B"),
        (17, 8, "model.name", 'no network is called "digits_mpl"', "did you mean `digits_mlp`?"),
    ]
    assert [p.source_line for p in found] == [text.split("\n")[p.line - 1] for p in found if p.line]


def test_the_message_shows_the_line_and_a_caret_under_the_place(file):
    file.write_text(DIGITS.replace("lr = 0.1", "lr = -0.1"), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert str(caught.value) == (
        f"{file}:16:6: optimizer.lr: must be greater than 0, is -0.1\n  | lr = -0.1\n  |      ^"
    )


@pytest.mark.parametrize(
    ("old", "new", "place", "message", "hint"),
    [
        ('name = "sgd"', 'name = "sdg"', (15, 8),
         'must be "sgd" or "adam" or "adamw" or "rmsprop" or "adagrad", is "sdg"', "did you mean `sgd`?"),
        ('name = "sgd"', "", (14, 1), "is missing", "choose from sgd, adam, adamw, rmsprop, adagrad"),
        ("epochs = 10.0", 'epochs = 10.0\ndecay = "cosin"', (20, 9),
         'must be "milestones", "cosine", "linear" or "exponential", is "cosin"', "did you mean `cosine`?"),
        ('name = "small"', 'name = "a b"', (2, 8),
         'must be letters, digits and . _ + - after a letter or digit, is "a b"', None),
        ('name = "small"', 'nam = "small"\nname = "small"', (2, 1), "unknown key", "did you mean `name`?"),
        ("schema = 1", "schema = 2", (1, 10), "must be 1, is 2", None),
        ("size = 50", "size = 50.0", (12, 8), "must be a whole number, is 50.0", None),
        ("size = 50", "size = true", (12, 8), "must be a whole number, is true", None),
        ("size = 50", "size = 1979-05-27", (12, 8), "must be a whole number, is 1979-05-27", None),
        ("lr = 0.1", "lr = nan", (16, 6), "must be a finite number, is nan", None),
        ("lr = 0.1", "lr = inf", (16, 6), "must be a finite number, is inf", None),
        ("size = 50", 'size = 50\n[batch_norm]\nrunning_statistics = "total"', (14, 22),
         "has no meaning without ghost batches",
         "remove it, or set ghost_batch_size; batch.size makes the batch one ghost"),
        ("epochs = 10.0", "epochs = 10.0\nupdates = 7", (20, 11), "epochs and updates are both given",
         "keep one of them"),
        ("epoch = 5.0", "epoch = 10.0", (22, 9),
         "must come before the end of the schedule, 10 epochs (200 updates); is 10 epochs (200 updates)", None),
        ("size = 50", "size = 0x" + "f" * 5000, (12, 8),
         "must be less than or equal to 9007199254740992, is an integer of 20000 bits", None),
    ],
)  # fmt: skip
def test_one_wrong_value_is_one_plain_sentence(file, old, new, place, message, hint):
    problem = one_problem(file, old, new)
    assert ((problem.line, problem.column), problem.message, problem.hint) == (place, message, hint)


def test_a_value_in_a_tables_place_is_told(file):
    (problem,) = problems(file, "batch = 50\n" + DIGITS.replace("[batch]\nsize = 50\n", ""))
    assert (problem.line, problem.column, problem.field, problem.message) == (1, 9, "batch", "must be a table, is 50")


def test_a_missing_table_is_told_at_the_beginning(file):
    problem = one_problem(file, "[batch]\nsize = 50\n", "")
    assert (problem.line, problem.column, problem.field, problem.message) == (1, 1, "batch", "is missing")


def test_windows_line_ends_and_a_byte_order_mark_move_no_place(file):
    file.write_bytes(b"\xef\xbb\xbf" + DIGITS.replace("lr = 0.1", "lr = -1").replace("\n", "\r\n").encode())
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column, problem.source_line) == (16, 6, "lr = -1")


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [("schema = 1\nname = small\n", 2, 8), ("a = 1\na = 2\n", 2, 6), ("[a]\nb = [1,\n", 3, 1), ("é = 1", 1, 1)],
)
def test_what_is_not_toml_is_told_with_its_place(file, text, line, column):
    (problem,) = problems(file, text)
    assert (problem.line, problem.column) == (line, column)
    assert problem.message.startswith("invalid TOML: ")


def test_a_number_that_python_refuses_to_read_is_a_problem_of_the_file(file):
    (problem,) = problems(file, "schema = " + "9" * 5000)
    assert problem.message.startswith("invalid TOML: exceeds the limit")


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a." * 5000 + "a = 1", "a = " + "[" * 200 + "]" * 200])
def test_absurd_nesting_is_refused(file, text):
    file.write_text(text)
    with pytest.raises(UsageError, match="nested more than 100 levels deep"):
        load_recipe(file)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_bytes_that_are_no_text_are_told_with_their_place(file, mark):
    file.write_bytes(mark + "schema = 1\n# é".encode() + b"\xff\n")
    with pytest.raises(RecipeError, match=r"small\.toml:2:4: is not UTF-8: byte 0xff"):
        load_recipe(file)


def test_a_file_too_large_is_refused_before_it_is_read(file):
    file.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        load_recipe(file)


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(UsageError, match="is a folder"):
        load_recipe(tmp_path)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("small", "small.toml"),
        ("smal.toml", "small.toml"),
        ("resnet44", "recipes/resnet44.toml"),
        ("resnet4.toml", "recipes/resnet44.toml"),
    ],
)
def test_a_name_without_a_file_is_answered_with_the_file_to_type(file, monkeypatch, name, suggestion):
    monkeypatch.chdir(file.parent)
    Path("recipes").mkdir()
    Path("recipes/resnet44.toml").write_text(DIGITS)
    with pytest.raises(UsageError) as caught:
        load_recipe(Path(name))
    assert str(caught.value) == f"{name}: no such file: did you mean {suggestion}?"


def test_overrides_take_the_place_of_values(file):
    recipe = load_recipe(
        file,
        [
            "optimizer.lr=0.2",
            "data.augmentation=pad-crop-flip",
            "schedule.milestones[0].lr_factor=0.5",
            "description = two words",
            "clipping.max_norm=5",
            "schedule.milestones.0.weight_decay=0.0",
            "optimizer.lr=0.4",
        ],
    )
    assert (recipe.optimizer.lr, recipe.data.augmentation, recipe.description) == (0.4, "pad-crop-flip", "two words")
    assert (recipe.schedule.milestones[0].lr_factor, recipe.schedule.milestones[0].weight_decay) == (0.5, 0.0)
    assert recipe.clipping is not None
    assert recipe.clipping.max_norm == 5.0


def test_an_override_in_one_unit_takes_the_place_of_the_other(file):
    file.write_text(DIGITS + "[measurements]\nevery_epochs = 1.0\nevaluate_every_updates = 3\n")
    recipe = load_recipe(
        file,
        [
            "schedule.updates=150",
            "schedule.milestones[0].update=70",
            "measurements.every_updates=5",
            "measurements.evaluate_every_epochs=2",
        ],
    )
    assert (recipe.schedule.epochs, recipe.schedule.updates) == (None, 150)
    assert (recipe.schedule.milestones[0].epoch, recipe.schedule.milestones[0].update) == (None, 70)
    assert (recipe.measurements.every_epochs, recipe.measurements.every_updates) == (None, 5)
    assert (recipe.measurements.evaluate_every_epochs, recipe.measurements.evaluate_every_updates) == (2.0, None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=-1", "optimizer.lr: must be greater than 0, is -1"),
        ("regularization.dropout=1.0", "regularization.dropout: must be less than 1, is 1.0"),
        ("regularization.label_noise=-0.1", "regularization.label_noise: must be greater than or equal to 0, is -0.1"),
        ("regularization.droput=0.5", "regularization.droput: unknown key\n  = did you mean `dropout`?"),
        ("optimizer.lr=0,1", 'optimizer.lr: must be a number, is "0,1"'),
        ("batch.size=2000", "batch.size: must be at most data.train_examples = 1000, is 2000"),
        ("optimzer.lr=1", "optimzer: unknown table\n  = did you mean `optimizer`?"),
        ("clipping.updates=5", "clipping.max_norm: is missing\n  = largest norm that is not clipped"),
        ("schedule.milestones[1].epoch=6",
         "schedule.milestones[1].epoch: milestones has 1 elements, counted from [0]: there is no 1"),
        ("batch.size.x=1", "batch.size.x: size is not a table"),
        ("schedule.milestones=[1", "schedule.milestones: is not a TOML value: [1"),
        ("name=", 'name: has no value: an empty string is ""'),
        ("batch.size", "is not of the form table.key=value"),
        ("=1", "is not of the form table.key=value"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_told_as_such(file, override, message):
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, [override])
    assert str(caught.value) == f"--set {override}: {message}"
    assert caught.value.problems[0].line is None


def test_problems_of_the_file_and_of_overrides_are_told_together(file):
    found = problems(file, DIGITS.replace("lr = 0.1", "lr = -1"), "batch.size=0", "foo")
    assert [(p.line, p.message) for p in found] == [
        (16, "must be greater than 0, is -1"),
        (None, "is not of the form table.key=value (from --set foo)"),
        (None, "must be greater than 0, is 0 (from --set batch.size=0)"),
    ]


def test_a_changed_copy_is_checked_again_on_request(file):
    recipe = load_recipe(file)
    assert checked(recipe, "x") == recipe
    with pytest.raises(RecipeError, match=r"^half: schedule\.epochs: is too short: 0\.01 epochs round to 0 updates"):
        checked(scaled(recipe, 0.001), "half")


def test_a_recipe_is_written_without_what_goes_without_saying(file):
    assert dump_recipe(load_recipe(file)) == DIGITS


def test_comments_stand_behind_their_lines_even_of_defaults(file):
    comments = {
        "optimizer.lr": "0.1 x\nsqrt(32)",
        "optimizer.momentum": "unchanged",
        "schedule.milestones": "kept",
        "measurements.every_epochs": "ten",
    }
    lines = dump_recipe(load_recipe(file), comments).splitlines()
    assert {
        "lr = 0.1 # 0.1 x sqrt(32)",
        "momentum = 0.0 # unchanged",
        "[[schedule.milestones]] # kept",
        "every_epochs = 0.25 # ten",
        "evaluate_every_epochs = 2.5",
    } <= set(lines)


def test_a_comment_without_a_line_is_a_mistake(file):
    with pytest.raises(ValueError, match=r"no line for a comment on clipping\.max_norm"):
        dump_recipe(load_recipe(file), {"clipping.max_norm": "none there"})


positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False)
below_one = st.floats(0, 1, exclude_max=True)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,20}", fullmatch=True)
optimizers = st.one_of(
    st.fixed_dictionaries({"name": st.just("sgd"), "lr": positive}, optional={"momentum": below_one}),
    st.fixed_dictionaries(
        {"name": st.sampled_from(["adam", "adamw"]), "lr": positive}, optional={"beta1": below_one, "epsilon": positive}
    ),
)


momenta = st.floats(0, 1, exclude_min=True)
batch_norms = st.one_of(
    st.fixed_dictionaries({}, optional={"momentum": momenta, "recompute_at_end": st.booleans()}),
    st.fixed_dictionaries(
        {"ghost_batch_size": st.integers(2, 50)},
        optional={"momentum": momenta, "running_statistics": st.sampled_from(list(DEFINITIONS))},
    ),
)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Recipes of 1 to 50 epochs of 20 updates, or as many updates, with up to three milestones."""
    length = draw(st.integers(1, 50))
    in_epochs = draw(st.booleans())
    points = draw(st.lists(st.integers(1, length - 1), unique=True, max_size=3)) if length > 1 else []
    unit, place = ("epochs", "epoch") if in_epochs else ("updates", "update")
    decays = st.none() | st.floats(0, 1)
    tables = {
        "schema": 1,
        "name": draw(names),
        "description": draw(st.text()),
        "data": {
            "name": "own",
            "train_examples": 1000,
            "augmentation": draw(st.sampled_from(["none", "pad-crop-flip"])),
        },
        "model": {"name": draw(st.sampled_from(sorted(NETWORKS)))},
        "batch": {"size": 50},
        "optimizer": draw(optimizers),
        "schedule": {
            unit: length,
            "milestones": [
                {place: point, "lr_factor": draw(positive), "weight_decay": draw(decays)} for point in sorted(points)
            ],
        },
        "batch_norm": draw(batch_norms),
    }
    optional = {
        "clipping": st.fixed_dictionaries({"max_norm": positive}, optional={unit: st.integers(1, length)}),
        "gradient_noise": st.fixed_dictionaries(
            {"kind": st.sampled_from(["gaussian", "bernoulli"]), "ratio": st.floats(1, 1e6, exclude_min=True)}
        ),
        "regularization": st.fixed_dictionaries(
            {},
            optional={name: st.floats(0, 1, exclude_max=True) for name in ("dropout", "label_noise", "drop_connect")},
        ),
        "weight_ema": st.fixed_dictionaries({"decay": st.floats(0, 1, exclude_min=True, exclude_max=True)}),
        "measurements": st.fixed_dictionaries(
            {}, optional={"every_updates": st.integers(1, 9), "evaluate_every_epochs": st.floats(0.1, 9)}
        ),
        "checkpoints": st.fixed_dictionaries({"every_seconds": positive}),
        "adapted_from": st.fixed_dictionaries(
            {
                "recipe": names,
                "recipe_hash": st.text(),
                "batch_size": st.integers(1, 50),
                "parts": st.lists(st.sampled_from(PARTS), unique=True),
                "lr_rule": st.text(),
                "program": st.text(),
            },
            optional={
                "stretch_share": st.floats(0, 1, exclude_min=True),
                "additions": st.lists(st.sampled_from(get_args(Addition)), unique=True),
            },
        ),
    }
    return Recipe.model_validate(tables | draw(st.fixed_dictionaries({}, optional=optional)))


@settings(deadline=None)
@given(recipe=recipes())
def test_what_is_written_reads_back_the_same(tmp_path_factory, recipe):
    file = tmp_path_factory.mktemp("written") / "recipe.toml"
    file.write_bytes(dump_recipe(recipe).encode())
    assert load_recipe(file) == recipe
