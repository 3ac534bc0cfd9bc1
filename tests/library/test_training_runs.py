"""`lbadvisor.train`, `ladder` and `compare` from Python do what the commands do."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

import lbadvisor
from lbadvisor.errors import PlanError, RefusedError, UnknownRunError, UsageError
from lbadvisor.runs import recording
from lbadvisor.runs.databases import opened
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints
from lbadvisor.training.checkpoints.content import read_content
from lbadvisor.training.loop import train

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")


def digits(*overrides):
    return lbadvisor.load_recipe(DIGITS, overrides)


def weights_of(database, run):
    with opened(database) as store:
        newest = checkpoints(store.checkpoint_folder(store.run(run.name)))[0]
    return read_content(newest, torch.device("cpu"), 2**26)[1]["model"]


def test_training_returns_the_complete_run_and_does_not_repeat_it(tmp_path):
    database = str(tmp_path / "a.db")
    short = digits("schedule.epochs=2", "schedule.milestones=[]")
    run = lbadvisor.train(short, to=64, ghost_batch_size=16, database=database, seed=1)
    assert (run.name, run.status.value, run.update, run.seed) == ("digits-64-all-ghost16-s1", "complete", 81, 1)
    assert run.recipe.batch_norm.ghost_batch_size == 16
    assert lbadvisor.train(short, to=64, ghost_batch_size=16, database=database, seed=1) == run
    small = lbadvisor.train(short, database=database, name="mine")
    assert (small.name, small.recipe.batch.size) == ("mine", 32)
    comparison = lbadvisor.compare("mine", run, database=database)
    assert [one.name for one in comparison.runs] == ["mine", run.name]
    assert comparison == lbadvisor.compare(small.number, run.number, database=database)
    some = lbadvisor.compare(where=["update>=1"], columns="best accuracy", database=database)
    assert [metric.label for metric in some.metrics] == ["best accuracy, %"]
    with pytest.raises(RefusedError, match="belongs to another training"):
        lbadvisor.train(short, database=database, name="mine", seed=2)


def test_shares_have_bits_of_their_own(tmp_path):
    database, how = str(tmp_path / "a.db"), {"to": 256, "database": str(tmp_path / "a.db")}
    short = digits("schedule.epochs=1", "schedule.milestones=[]")
    one, four = lbadvisor.train(short, **how, name="one"), lbadvisor.train(short, **how, name="four", shares=4)
    assert (one.shares, four.shares) == (1, 4)
    pairs = zip(weights_of(database, one).values(), weights_of(database, four).values(), strict=True)
    assert not all(torch.equal(mine, other) for mine, other in pairs)
    with pytest.raises(UsageError, match="cannot be cut into 9 shares: it has 8 ghosts of 32"):
        lbadvisor.train(short, **how, name="nine", shares=9)


def test_a_ladder_returns_its_comparison(tmp_path):
    short = digits("schedule.epochs=1", "schedule.milestones=[]")
    database = tmp_path / "a.db"
    comparison = lbadvisor.ladder(short, to=256, arms=("sb", "lb", "ra:1"), seeds=2, database=database)
    assert [(group.label, len(group.runs)) for group in comparison.groups] == [("SB", 2), ("LB", 2), ("+RA", 1)]
    assert comparison.gap.conclusion
    assert lbadvisor.compare("digits-256-ladder", database=database).groups == comparison.groups
    assert lbadvisor.ladder(short, to=256, arms="sb,lb,ra:1", seeds=2, database=database) == comparison


def test_ctrl_c_saves_and_the_same_call_resumes_bit_for_bit(tmp_path, monkeypatch):
    """The signal comes once the run has made updates; the run is then stopped, not interrupted."""
    database, recipe = tmp_path / "a.db", digits("measurements.evaluate_every_epochs=10")
    before = signal.getsignal(signal.SIGINT)

    def interrupted(state, dataset):
        for measured in train(state, dataset):
            if state.update == 100:
                os.kill(os.getpid(), signal.SIGINT)
            yield measured

    monkeypatch.setattr(recording, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lbadvisor.train(recipe, database=database, name="stopped")
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is before
    with opened(database) as store:
        stopped = store.run("stopped")
    assert stopped.status.value == "stopped"
    assert stopped.ended_because.startswith("stopped on request at update")
    assert 0 < stopped.update < stopped.updates
    resumed = lbadvisor.train(recipe, database=database, name="stopped")
    assert (resumed.status.value, resumed.resumes) == ("complete", 1)
    whole = lbadvisor.train(recipe, database=tmp_path / "b.db", name="whole")
    own, others = weights_of(database, resumed), weights_of(tmp_path / "b.db", whole)
    assert all(torch.equal(own[name], others[name]) for name in own | others)


def test_training_works_in_a_thread_of_its_own(tmp_path):
    """Where no signal can be received."""
    runs = []
    short = digits("schedule.epochs=1", "schedule.milestones=[]")
    thread = threading.Thread(target=lambda: runs.append(lbadvisor.train(short, database=tmp_path / "a.db")))
    thread.start()
    thread.join()
    assert [run.status.value for run in runs] == ["complete"]


def test_a_program_under_torchrun_is_refused_before_its_processes_train_one_run_each(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="torchrun -m lbadvisor train"):
        lbadvisor.train(DIGITS, database=str(tmp_path / "a.db"))
    assert list(tmp_path.iterdir()) == []


def test_comparing_loads_no_torch(tmp_path):
    program = (
        "import lbadvisor, sys\n"
        "try:\n    lbadvisor.compare('a', 'b', database='none.db')\n"
        "except lbadvisor.errors.StoreError:\n    pass\n"
        "assert 'torch' not in sys.modules and 'typer' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda db: lbadvisor.train(DIGITS, adapt="none", database=db), PlanError, "adapt= has no effect without"),
        (lambda db: lbadvisor.train(DIGITS, to=64, lr=0.1, database=db), PlanError, "lr= belongs to a plan without"),
        (lambda db: lbadvisor.train(DIGITS, to=64, gohst=8, database=db), TypeError, "has no keyword `gohst`"),
        (lambda db: lbadvisor.train(DIGITS, name="7", database=db), UsageError, "a plain number is a run's number"),
        (lambda db: lbadvisor.ladder(DIGITS, to=32, database=db), PlanError, "is the baseline's own"),
        (lambda db: lbadvisor.ladder(DIGITS, to=64, arms="sb", seeds=1, database=db), PlanError, "ladder of one run"),
        (lambda db: lbadvisor.ladder(DIGITS, to=64, adapt="lr", database=db), PlanError, "adapt= is not of a whole"),
        (lambda db: lbadvisor.ladder(DIGITS, to=64, seeds=0, database=db), PlanError, "seeds=0"),
        (lambda db: lbadvisor.compare(database=db), UsageError, "name at least two runs"),
        (lambda db: lbadvisor.compare("a", by="week", database=db), UsageError, "by='week': choose from update"),
    ],
)  # fmt: skip
def test_a_wrong_call_says_what_to_do_and_creates_nothing(tmp_path, call, error, message):
    with pytest.raises(error, match=message):
        call(tmp_path / "a.db")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_run_is_named(tmp_path):
    short = digits("schedule.epochs=1", "schedule.milestones=[]")
    lbadvisor.train(short, database=tmp_path / "a.db", name="one")
    with pytest.raises(UnknownRunError, match="two"):
        lbadvisor.compare("one", "two", database=tmp_path / "a.db")
