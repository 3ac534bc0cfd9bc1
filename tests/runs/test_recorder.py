"""A training elsewhere is recorded as a run: what it tells is stored, how it ends is known, and it resumes."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from plain_results import result_of, standing_of

import lbadvisor
from lbadvisor.comparison.comparison import Position
from lbadvisor.errors import InTrainingError, PlanError, RecipeError, RefusedError, StoreError, UsageError
from lbadvisor.planning.plan import advise
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import dump_recipe, load_recipe
from lbadvisor.recipe.recipe import fields_of
from lbadvisor.recipe.settings import recipe_of_settings
from lbadvisor.records.axis import Axis
from lbadvisor.records.run import Measurement, Reading, RunStatus
from lbadvisor.runs import recorder
from lbadvisor.runs.selection import compare_selection, select
from lbadvisor.store import Store

DIGITS = Path(__file__).parents[2] / "recipes" / "digits.toml"
SETTINGS = {"batch_size": 50, "examples": 1000, "optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "updates": 40}


@pytest.fixture
def database(tmp_path):
    return tmp_path / "runs.db"


def stored(database, name="mine"):
    with Store.open(database, create=False) as store:
        run = store.run(name)
        return run, store.measurements(run.number)


def test_what_a_loop_tells_is_stored_and_what_it_does_not_tell_is_absent(database):
    with lbadvisor.record("mine", SETTINGS, 3, database, program="my loop") as run:
        run.log(10, loss=2.5, lr=0.1)
        run.log(20, loss=1.5)
        run.log(update=20, accuracy=87.5, seconds=12)
        run.log(40, gradient_square={"": 2.0}, group_norm={"linear 1": 3.0, "linear 2": 4.0})
    run, (first, second, last) = stored(database)
    assert (run.seed, run.status, run.update, run.updates) == (3, RunStatus.COMPLETE, 40, 40)
    assert run.ended_because == "all 40 updates made"
    assert run.recipe.recorded.program == "my loop"
    # 10 updates of 50 are 500 of 1000 examples.
    assert first == Measurement(10, 0.5, 500, 2.5, 0.1, None, None, None, None, None, first.seconds)
    assert 0 <= first.seconds < 60
    assert second == Measurement(20, 1.0, 1000, 1.5, None, None, None, None, None, 87.5, 12.0)
    assert (last.epoch, last.loss) == (2.0, None)
    with Store.open(database, create=False) as store:
        assert store.readings(run.number) == [
            Reading(40, "gradient_square", "", 2.0),
            Reading(40, "group_norm", "linear 1", 3.0),
            Reading(40, "group_norm", "linear 2", 4.0),
        ]


def test_the_number_last_told_stands_for_a_quantity_that_is_told_at_other_updates(database):
    """By SQL as from the measurements themselves."""
    with lbadvisor.record("mine", SETTINGS, 0, database) as run:
        run.log(5, loss=3.0, accuracy=50, lr=0.1)
        run.log(10, accuracy=70)
        run.log(15, evaluation_loss=0.5)
        run.log(20, loss=2.0)
        run.log(25, gradient_norm=7.0)
    run, measurements = stored(database)
    with Store.open(database, create=False) as store:
        (result,) = store.results_of([run.number])
        standings = store.standings_of([run.number], [Position(Axis.UPDATE, 16.0), Position(Axis.SECOND, 1e9)])
    assert result == result_of(run, measurements)
    assert (result.last.update, result.last.loss, result.last.lr, result.last.gradient_norm) == (25, 2.0, 0.1, 7.0)
    assert (result.final.update, result.final.evaluation_accuracy_percent, result.final.evaluation_loss) == (
        15,
        70,
        0.5,
    )
    assert result.clipped_percent is None
    assert standings == [standing_of([measurements], one.position) for one in standings]
    assert (standings[0].measured[0].loss, standings[0].evaluated[0].evaluation_accuracy_percent) == (3.0, 70.0)


@pytest.mark.parametrize("given", [str(DIGITS), DIGITS, load_recipe(DIGITS)], ids=["string", "path", "recipe"])
def test_a_recipe_is_given_as_such_or_by_its_path(database, given):
    with lbadvisor.record("mine", given, 0, str(database)) as run:
        run.log(405, loss=0.1)
    run, _ = stored(database)
    assert run.recipe.optimizer == load_recipe(DIGITS).optimizer
    assert (run.recipe.name, run.updates) == ("digits", 405)


def test_what_is_unknown_is_no_value_and_what_a_recipe_cannot_express_is_kept():
    settings = {"batch_size": 50, "optimizer": "lamb", "beta1": 0.9, "model": "facebook/opt-125m", "layers": 12}
    recipe = recipe_of_settings(settings, "my run", "my loop")
    fields = dict(fields_of(recipe))
    assert {field: value for field, value in fields.items() if field.startswith("recorded.")} == {
        "recorded.program": "my loop",
        "recorded.optimizer": "lamb",
        "recorded.beta1": 0.9,
        "recorded.model": "facebook/opt-125m",
        "recorded.layers": 12,
    }
    assert fields["batch.size"] == 50
    assert recipe.name == "my-run"
    absent = ("optimizer.", "schedule.updates", "data.name", "data.train_examples", "model.name", "measurements.")
    assert [field for field in fields if field.startswith(absent)] == []


def test_a_recorded_recipe_is_written_and_read_again(tmp_path):
    recipe = recipe_of_settings(SETTINGS | {"data": "cifar10", "layers": 12, "amp": True}, "mine", "my loop")
    (tmp_path / "mine.toml").write_text(dump_recipe(recipe))
    again = load_recipe(tmp_path / "mine.toml")
    assert again == recipe
    assert again.recorded.model_extra == {"layers": 12, "amp": True}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lr": 0.1}, "the settings have no batch_size"),
        ({"batch_size": 50, "epochs": 3}, "the settings count in epochs, but have no examples"),
        ({"batch_size": 50, "lr": -0.1}, r"optimizer\.lr: must be greater than 0"),
        ({"batch_size": 50, "crops": [1, 2]}, r"recorded\.crops: must be a text, a finite number, true or false"),
        ({"batch_size": 50, "optimizer": "sgd", "beta1": 0.9}, r"optimizer\.beta1: unknown key"),
    ],
)
def test_settings_that_cannot_be_are_named(database, settings, said):
    with pytest.raises(UsageError, match=said), lbadvisor.record("mine", settings, 0, database):
        pass
    assert not database.exists()


@pytest.mark.parametrize(
    ("update", "told", "said"),
    [
        (0, {}, "updates count from 1, so log update \\+ 1"),
        (1.5, {}, "update is 1.5: it must be a whole number"),
        (3, {"loss": 1.0}, "update 3 was logged after update 5: updates must ascend"),
        (6, {"los": 1.0}, "nothing is called 'los': did you mean `loss`?"),
        (6, {"loss": "low"}, "loss is 'low': it must be a number"),
        (6, {"accuracy": 101}, "accuracy is 101: it must be from 0 to 100 percent"),
        (6, {"clipped_share": 50}, "clipped_share is 50: it must be from 0 to 1"),
        (6, {"seconds": math.nan}, "seconds is nan: it must be a number from 0 on"),
        (6, {"accuracy": 1, "evaluation_accuracy_percent": 1}, "accuracy is given twice"),
        (6, {"loss": {"": 1.0}}, "loss is a mapping: only"),
    ],
)
def test_a_number_that_cannot_be_is_refused_and_the_run_fails(database, update, told, said):
    with pytest.raises(UsageError, match=said), lbadvisor.record("mine", SETTINGS, 0, database) as run:  # noqa: PT012
        run.log(5, loss=1.0)
        run.log(update, **told)
    run, measurements = stored(database)
    assert run.status is RunStatus.FAILED
    assert [one.update for one in measurements] == [5]


def test_an_accuracy_that_may_be_a_share_is_told_once(database):
    with lbadvisor.record("mine", SETTINGS, 0, database) as run:
        with pytest.warns(UserWarning, match=r"accuracy 0\.93 is stored as 0\.93 percent: if it is a share, log 100"):
            run.log(5, accuracy=0.93)
        run.log(6, accuracy=0.94)
    assert stored(database)[1][0].evaluation_accuracy_percent == 0.93


def record_and_raise(database, error, loss=1.0):
    with lbadvisor.record("mine", SETTINGS, 0, database) as run:
        run.log(7, loss=loss)
        if error is not None:
            raise error


@pytest.mark.parametrize(
    ("error", "loss", "status", "because"),
    [
        (None, 1.0, "complete", "ended at update 7"),
        (None, math.nan, "diverged", "its loss is nan at update 7"),
        (None, math.inf, "diverged", "its loss is inf at update 7"),
        (ValueError("no disk"), 1.0, "failed", "ValueError: no disk"),
        (FloatingPointError("boom"), math.nan, "diverged", "its loss is nan at update 7; FloatingPointError: boom"),
        (KeyboardInterrupt(), 1.0, "stopped", "stopped by KeyboardInterrupt at update 7"),
    ],
)
def test_how_it_ends_is_stored_and_an_error_is_raised_on(database, error, loss, status, because):
    if error is None:
        record_and_raise(database, None, loss)
    else:
        with pytest.raises(type(error)):
            record_and_raise(database, error, loss)
    run, measurements = stored(database)
    assert (run.status, run.ended_because) == (status, because)
    assert len(measurements) == 1


def test_a_loss_that_is_finite_again_did_not_diverge(database):
    with lbadvisor.record("mine", SETTINGS, 0, database) as run:
        run.log(1, loss=math.inf)
        run.log(2, loss=1.0)
    assert stored(database)[0].status is RunStatus.COMPLETE


def test_a_run_is_resumed_where_its_loop_goes_on(database):
    with pytest.raises(KeyboardInterrupt), lbadvisor.record("mine", SETTINGS, 0, database) as run:  # noqa: PT012
        for update in range(1, 8):
            run.log(update, loss=update, seconds=10 * update)
        raise KeyboardInterrupt
    with lbadvisor.record("mine", SETTINGS, 0, database, resume=True) as run:
        assert run.update == 7
        run.log(5, loss=0.5)
        run.log(6, loss=0.6)
    run, measurements = stored(database)
    assert [(one.update, one.loss) for one in measurements] == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 0.5), (6, 0.6)]
    assert (run.update, run.resumes, run.status) == (6, 1, RunStatus.COMPLETE)
    assert 40 <= measurements[4].seconds < 100


def test_another_training_of_that_name_is_refused(database):
    with lbadvisor.record("mine", SETTINGS, 0, database) as run:
        run.log(1, loss=1.0)
        with (
            pytest.raises(InTrainingError, match="another process is training the run mine"),
            lbadvisor.record("mine", SETTINGS, 0, database, resume=True),
        ):
            pass
    before = stored(database)
    for settings, seed, resume, said in (
        (SETTINGS, 0, False, "a run named 'mine' already exists: pass resume=True to resume it"),
        (SETTINGS | {"lr": 0.2}, 0, True, "optimizer.lr: 0.1 there, 0.2 here"),
        (SETTINGS | {"layers": 2}, 0, True, "recorded.layers: None there, 2 here"),
        (SETTINGS, 1, True, "seed: 0 there, 1 here"),
    ):
        with (
            pytest.raises(RefusedError, match=said),
            lbadvisor.record("mine", settings, seed, database, resume=resume),
        ):
            pass
    assert stored(database) == before


def test_a_length_that_is_not_known_grows_with_the_run(database):
    with lbadvisor.record("mine", {"batch_size": 8}, 0, database) as run:
        run.log(30, loss=1.0)
    run, (one,) = stored(database)
    assert (run.update, run.updates, one.epoch, one.examples) == (30, 30, None, 240)


KILLED = """
import sys, time, lbadvisor
with lbadvisor.record("mine", {"batch_size": 8}, database=sys.argv[1]) as run:
    assert "torch" not in sys.modules
    run.log(1, loss=1.0)
    run.log(2, loss=2.0)
    print("logged", flush=True)
    time.sleep(600)
"""


def test_a_kill_loses_no_more_than_a_second_and_the_run_is_interrupted(database):
    """Without torch, which the loop has not imported."""
    with subprocess.Popen([sys.executable, "-c", KILLED, str(database)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "logged\n"
        run, measurements = stored(database)
        assert run.status is RunStatus.RUNNING
        deadline = time.monotonic() + 300
        while len(measurements) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
            measurements = stored(database)[1]
        os.kill(process.pid, signal.SIGKILL)
    run, measurements = stored(database)
    assert [one.loss for one in measurements] == [1.0, 2.0]
    assert run.status is RunStatus.INTERRUPTED
    assert run.environment.torch_version == "not imported"
    with lbadvisor.record("mine", {"batch_size": 8}, database=database, resume=True) as log:
        log.log(3, loss=3.0)
    assert stored(database)[0].status is RunStatus.COMPLETE


def test_what_cannot_be_written_is_told_at_the_next_log(database, monkeypatch):
    monkeypatch.setattr(recorder, "FLUSH_SECONDS", 0.01)
    with pytest.raises(StoreError, match="there is no run"), lbadvisor.record("mine", SETTINGS, 0, database) as run:  # noqa: PT012
        with Store.open(database, create=False) as store:
            store.delete_run(run.run.number)
        for update in range(1, 30_000):
            run.log(update, loss=1.0)
            time.sleep(0.01)


def test_seeds_are_a_group_and_only_what_is_known_to_differ_is_told(database):
    for name, settings, seed in (
        ("small-s0", SETTINGS, 0),
        ("small-s1", SETTINGS, 1),
        ("large", {"batch_size": 100, "layers": 3}, 0),
    ):
        with lbadvisor.record(name, settings, seed, database) as run:
            run.log(40, loss=1.0, accuracy=90 + seed)
    with Store.open(database, create=False) as store:
        comparison = compare_selection(store, select(store, ()))
    assert [(group.label, group.seeds) for group in comparison.groups] == [("small", (0, 1)), ("large", (0,))]
    changed = {change.field: change.values for change in comparison.changed}
    assert changed["batch.size"] == (50, 50, 100)
    assert changed["optimizer.lr"] == (0.1, 0.1, None)
    assert changed["recorded.layers"] == (None, None, 3)
    assert not any("unknown" in field or field.startswith("measurements") for field in changed)
    assert comparison.gap.groups[1].points == 0.0


def test_data_that_are_not_told_are_not_other_data(database):
    """A gap is told all the same, with what it takes for granted; names that no recipe can have do differ."""
    for name, settings in (
        ("ours", SETTINGS | {"data": "cifar10", "model": "resnet44"}),
        ("silent", {"batch_size": 100}),
        ("other", {"batch_size": 100, "data": "hub/imagenet"}),
        ("another", {"batch_size": 100, "data": "hub/places"}),
    ):
        with lbadvisor.record(name, settings, 0, database) as run:
            run.log(40, loss=1.0, accuracy=90)
    with Store.open(database, create=False) as store:
        one, two, three = (
            compare_selection(store, select(store, names))
            for names in (("ours", "silent"), ("ours", "other"), ("another", "other"))
        )
    assert one.gap.groups[1].points == 0.0
    assert "silent: the data set is not told, so the gap means little unless it is the same as the others'" in one.notes
    assert not any("different" in note for note in one.notes)
    assert two.gap.conclusion == "No gap: the runs are of different data sets (cifar10, hub/imagenet)."
    assert three.gap.groups[1].points is None
    assert any("different data sets (hub/imagenet, hub/places)" in note for note in three.notes)


def test_a_plan_needs_what_it_scales():
    plan = advise(recipe_of_settings(SETTINGS, "mine", "my loop"), Request(200, ("lr",)))
    assert plan.adapted.optimizer.lr == pytest.approx(0.2)  # 0.1 * sqrt(200/50)
    assert plan.adapted.recorded.program == "my loop"
    with pytest.raises(PlanError, match=r"does not tell data\.train_examples, optimizer\.name"):
        advise(recipe_of_settings({"batch_size": 50}, "mine", "my loop"), Request(200, ("lr",)))


def test_a_recipe_trained_elsewhere_cannot_be_a_wrong_one():
    with pytest.raises(RecipeError, match=r"batch\.size: must be at most data\.train_examples = 10, is 50"):
        recipe_of_settings({"batch_size": 50, "examples": 10}, "mine", "my loop")
