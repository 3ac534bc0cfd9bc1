"""How many CPU threads a run has: the cores, shared by the processes that train for one database; it keeps them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.runs.runner import Progress, RunRequest, Started, train_run
from lbadvisor.runs.workspace import Sitting, Workspace
from lbadvisor.store import Store
from lbadvisor.store.run_folder import only_process
from lbadvisor.training import cores, state
from lbadvisor.training.environment import environment_of
from lbadvisor.training.machine import Machine

CPU = torch.device("cpu")
RECIPE = Recipe.model_validate(
    {
        "schema": 1,
        "name": "tiny",
        "data": {"name": "digits", "train_examples": 1297},
        "model": {"name": "digits_mlp"},
        "batch": {"size": 100},
        "optimizer": {"name": "sgd", "lr": 0.05},
        "schedule": {"updates": 6},
    }
)


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch, tmp_path):
    """As on a machine where torch takes four threads, for a network that is large enough to use them."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cores, "CGROUPS", tmp_path / "no groups")
    monkeypatch.setattr(state, "SMALL_NETWORK", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def store(tmp_path):
    with Store.at(tmp_path / "runs.db") as opened:
        yield opened


@contextmanager
def others_train(store: Store, *names: str) -> Iterator[None]:
    """While entered, runs with these names are in training, as seen from any process: their locks are held."""
    if not names:
        yield
        return
    run = store.add_run(names[0], RECIPE, 7, 6, environment_of(CPU))
    with only_process(store.checkpoint_folder(run), run.name), others_train(store, *names[1:]):
        yield


def trained(store, name, threads=None, until=None):
    """Train the run to its end or to an update; the notes told at its start."""
    notes = ()
    events = train_run(
        Workspace(store, Machine(CPU, store.address.parent, threads=threads)), RunRequest(RECIPE, None, name, 0)
    )
    for event in events:
        if isinstance(event, Started):
            notes = event.notes
        if isinstance(event, Progress) and event.update == until:
            events.close()
    return notes


def test_alone_a_run_has_all_cores_and_leaves_torch_as_it_was(store):
    assert trained(store, "a", threads=3) == trained(store, "b") == ()
    assert [store.run(name).threads for name in ("a", "b")] == [3, 4]
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize(
    ("others", "threads", "who"),
    [(1, 2, "another process trains"), (2, 1, "2 other processes train"), (5, 1, "5 other processes train")],
)
def test_a_new_run_shares_the_cores_with_the_processes_that_train_for_its_database(store, others, threads, who):
    with others_train(store, *"uvwxy"[:others]):
        assert trained(store, "new") == (
            f"uses {threads} of 4 CPU threads, as {who} for this database too: --threads overrides it",
        )
    assert store.run("new").threads == threads


@pytest.mark.parametrize(("jobs", "others", "threads"), [(2, (), 2), (2, ("sibling",), 2), (3, ("a", "b"), 1)])
def test_jobs_divide_the_cores_by_their_number_however_many_train_by_now(store, jobs, others, threads):
    workspace = Workspace(store, Machine(CPU, store.checkpoints), Sitting(jobs=jobs))
    with others_train(store, *others):
        started = [e for e in train_run(workspace, RunRequest(RECIPE, None, "new", 0)) if isinstance(e, Started)]
    assert started[0].notes == ()
    assert store.run("new").threads == threads


def test_a_run_whose_process_died_takes_no_core(store):
    with others_train(store, "killed"):
        pass
    assert store.run("killed").status == "interrupted"
    assert trained(store, "new") == ()
    assert store.run("new").threads == 4


def test_threads_that_were_asked_for_are_not_shared(store, monkeypatch):
    with others_train(store, "other"):
        assert trained(store, "asked", threads=3) == ()
        monkeypatch.setenv("OMP_NUM_THREADS", "4")
        assert trained(store, "openmp") == ()
    assert [store.run(name).threads for name in ("asked", "openmp")] == [3, 4]


def test_a_resumed_run_keeps_its_threads_and_says_so_if_others_were_asked_for(store):
    trained(store, "a", threads=2, until=3)
    with others_train(store, "other"):
        assert trained(store, "a", until=4) == ()
    assert trained(store, "a", threads=1, until=5) == (
        "keeps its 2 CPU threads, which decide its bits: --threads 1 is for new runs",
    )
    assert trained(store, "a", threads=2) == ()
    run = store.run("a")
    assert (run.threads, run.guarantee) == (2, "bit-exact")
