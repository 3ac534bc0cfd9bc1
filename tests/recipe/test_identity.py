"""What a training is: every field that decides its bits, and nothing that does not."""

import math
from pathlib import Path

import pytest

from lbadvisor.planning import plan as planning
from lbadvisor.planning.plan import advise
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import dump_recipe, load_recipe
from lbadvisor.recipe.identity import CADENCE, LABELS, differences, digest_of, identity_of, with_cadence_of
from lbadvisor.recipe.parts import PARTS
from lbadvisor.recipe.recipe import Recipe, recipe_hash
from lbadvisor.recipe.recipe_tables import Recorded
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.refine.search_space import plan_at, search_space

DIGITS = load_recipe(Path(__file__).parents[2] / "recipes" / "digits.toml", ())
BODY = {
    "schema": 1,
    "name": "full",
    "description": "all tables",
    "data": {"name": "own", "train_examples": 1000, "validation_examples": 100, "augmentation": "none"},
    "task": {"kind": "classification"},
    "model": {"name": "resnet44"},
    "batch": {"size": 50},
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-4},
    "schedule": {"updates": 200, "milestones": [{"update": 100, "lr_factor": 0.1}], "warmup_updates": 10},
    "batch_norm": {"ghost_batch_size": 25, "momentum": 0.1},
    "clipping": {"max_norm": 1.0, "updates": 20},
    "gradient_noise": {"kind": "gaussian", "ratio": 2.0},
    "regularization": {"dropout": 0.1},
    "weight_ema": {"decay": 0.9},
    "compute": {"precision": "float32"},
    "measurements": {"every_updates": 10, "evaluate_every_updates": 20},
    "checkpoints": {"every_seconds": 120.0},
    "adapted_from": {
        "recipe": "small", "recipe_hash": "0" * 64, "batch_size": 10, "parts": ["lr"], "lr_rule": "sqrt",
        "program": "lbadvisor 0.1.0",
    },
}  # fmt: skip
DECISIVE = {
    "data": [{"name": "other"}, {"train_examples": 999}, {"validation_examples": 99},
             {"augmentation": "pad-crop-flip"}, {"image_size": 32},
             {"factory": "own:load"}, {"factory": "own:load", "arguments": {"size": 3}},
             {"factory": "own:load", "classes": 3}],
    "task": [{"loss": {"factory": "own:loss"}}, {"metric": {"factory": "own:score", "better": "higher"}}],
    "model": [{"name": "resnet20"}, {"name": "net", "factory": "own:net"},
              {"name": "net", "factory": "own:net", "arguments": {"widths": [8, 8]}},
              {"name": "net", "factory": "own:net", "batch_norm": True}],
    "batch": [{"size": 100}],
    "optimizer": [{"lr": 0.2}, {"momentum": 0.8}, {"nesterov": True}, {"weight_decay": 0.0}],
    "schedule": [{"updates": 300}, {"milestones": []}, {"warmup_updates": 11}, {"warmup_lr_factor": 0.5},
                 {"milestones": [{"update": 100, "lr_factor": 0.1, "distance": 3.0}]}],
    "batch_norm": [{"ghost_batch_size": 10}, {"momentum": 0.2}, {"running_statistics": "mean"},
                   {"recompute_at_end": True}],
    "clipping": [{"max_norm": 2.0}, {"updates": 21}],
    "gradient_noise": [{"kind": "bernoulli"}, {"ratio": 3.0}],
    "regularization": [{"dropout": 0.2}, {"label_noise": 0.1}, {"drop_connect": 0.1}],
    "weight_ema": [{"decay": 0.99}],
    "compute": [{"precision": "bf16"}, {"tf32": True}, {"compile": True}],
}  # fmt: skip
OTHER = {
    "name": "renamed",
    "description": "",
    "measurements": {"every_updates": 1, "evaluate_every_updates": 7},
    "checkpoints": {"every_seconds": 60.0},
    "adapted_from": None,
}
FULL = Recipe.model_validate(BODY)


@pytest.mark.parametrize(("table", "changed"), [(table, one) for table, those in DECISIVE.items() for one in those])
def test_a_field_that_decides_bits_makes_another_training(table, changed):
    other = Recipe.model_validate(BODY | {table: BODY[table] | changed})
    assert digest_of(other) != digest_of(FULL)
    assert differences(FULL, other)[0].startswith(f"{table}.{next(iter(changed))}")


def test_the_arguments_of_a_factory_decide_the_training():
    one, two = (
        Recipe.model_validate(BODY | {"model": {"factory": "own:net", "arguments": {"width": w}}}) for w in (8, 9)
    )
    assert digest_of(one) != digest_of(two)
    assert differences(one, two) == ["model.arguments.width: 8 there, 9 here"]


@pytest.mark.parametrize("field", OTHER)
def test_labels_provenance_and_cadence_leave_the_training_what_it_is(field):
    other = Recipe.model_validate(BODY | {field: OTHER[field]})
    assert other != FULL
    assert identity_of(other, 0) == identity_of(FULL, 0)
    assert differences(FULL, other) == []


def test_every_table_of_the_format_is_one_or_the_other():
    """A table that the format gains has to be sorted here."""
    assert set(Recipe.model_fields) == set(DECISIVE) | set(LABELS) | set(CADENCE) | {"recorded"}
    assert set(OTHER) == (set(LABELS) | set(CADENCE)) - {"schema_version"}


def test_the_same_numbers_trained_elsewhere_are_another_training():
    lightning, ours = (FULL.model_copy(update={"recorded": Recorded(program=one)}) for one in ("lightning", "my loop"))
    assert len({digest_of(FULL), digest_of(lightning), digest_of(ours)}) == 3
    assert differences(FULL, ours) == ["recorded.program: None there, my loop here"]


def test_a_seed_is_part_of_it():
    assert identity_of(FULL, 0) != identity_of(FULL, 1)
    assert identity_of(FULL, 0).recipe == identity_of(FULL, 1).recipe


def test_a_length_is_the_same_in_epochs_and_in_updates():
    assert digest_of(in_updates(DIGITS)) == digest_of(DIGITS)
    assert differences(in_updates(DIGITS), DIGITS) == []


def test_the_version_that_adapted_a_recipe_is_no_part_of_it(monkeypatch):
    now = advise(DIGITS, Request(512, PARTS)).adapted
    monkeypatch.setattr(planning, "__version__", "99.0.0")
    later = advise(DIGITS, Request(512, PARTS)).adapted
    assert later.adapted_from.program == "lbadvisor 99.0.0"
    assert digest_of(later) == digest_of(now)


def test_a_number_is_the_same_to_nine_digits():
    """An exponent computed back from a learning rate gives that rate to rounding only."""
    request = Request(512, PARTS)
    space = search_space(DIGITS, request)
    recipe = plan_at(DIGITS, request, space, (0.37,)).adapted
    again = math.log(recipe.optimizer.lr / DIGITS.optimizer.lr) / math.log(16)
    assert digest_of(plan_at(DIGITS, request, space, (again,)).adapted) == digest_of(recipe)
    assert digest_of(plan_at(DIGITS, request, space, (0.38,)).adapted) != digest_of(recipe)


def test_digests_that_checkpoints_keep_do_not_change():
    """Noted when the definition was made; fields that were added since have their default."""
    assert digest_of(FULL) == "3d8febd10345cc3f03917a14fe67d3b78e46ee9d7c1108e3dc29a463b0ba08d1"


ADAMW = {table: BODY[table] for table in ("schema", "name", "data", "model", "batch")} | {"schedule": {"updates": 200}}


def adamw(**given):
    return Recipe.model_validate(ADAMW | {"optimizer": {"name": "adamw", "lr": 0.001} | given})


def test_hashes_from_before_the_default_weight_decay_of_adamw_changed_stay_true():
    """Noted by the program whose default was 0: a stored recipe keeps its 0, and is not one that leaves it out now."""
    before, now = adamw(weight_decay=0.0), adamw()
    assert now.optimizer.weight_decay == 0.01
    assert recipe_hash(before) == "17e7e8e5900d21edbf8643c08f2feccd2df06c001d0c07c91ed5ecd3ef33f73e"
    assert digest_of(before) == "c06fb7ece9b339886d3744017b78d72088d307ea9151420ad693f626ad14b4e7"
    assert Recipe.model_validate_json(before.model_dump_json()) == before
    for one in (recipe_hash, digest_of):
        assert one(now) == one(adamw(weight_decay=0.01)) != one(before)


@pytest.mark.parametrize("given", [{}, {"weight_decay": 0.0}])
def test_a_written_recipe_of_adamw_says_its_weight_decay(given):
    recipe = adamw(**given)
    assert f"weight_decay = {recipe.optimizer.weight_decay}\n" in dump_recipe(recipe)


def test_another_cadence_is_all_that_is_taken_over():
    other = Recipe.model_validate(BODY | {"optimizer": {"name": "sgd", "lr": 9.0}} | {f: OTHER[f] for f in CADENCE})
    mixed = with_cadence_of(FULL, other)
    assert (mixed.checkpoints.every_seconds, mixed.measurements.every_updates) == (60.0, 1)
    assert mixed.model_copy(update={table: getattr(FULL, table) for table in CADENCE}) == FULL
