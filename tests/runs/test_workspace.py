"""A workspace is opened once; processes that get one connect anew, and what only reads makes nothing."""

import multiprocessing
import pickle
from pathlib import Path

import pytest
import torch

from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.schedule import scaled
from lbadvisor.runs.runner import RunRequest, train_run
from lbadvisor.runs.workspace import Workspace
from lbadvisor.store import Store, address_of, check
from lbadvisor.training.machine import Machine

DIGITS = scaled(load_recipe(Path(__file__).parents[2] / "recipes" / "digits.toml", ()), 0.02)
CPU = torch.device("cpu")


def test_a_workspace_reads_as_empty_and_makes_nothing_until_a_run_begins(tmp_path):
    database = tmp_path / "folder" / "runs.db"
    with Workspace.open(database, Machine(CPU, tmp_path)) as workspace:
        store = workspace.store
        assert (store.runs(), store.find_run("a"), store.ladders()) == ([], None, [])
        events = train_run(workspace, RunRequest(DIGITS, None, "a", 0))
        next(events)
        assert list(tmp_path.iterdir()) == []
        list(events)
        assert [run.name for run in store.runs()] == ["a"]
        assert (
            store.checkpoint_folder(store.run("a")).parent == store.checkpoints == tmp_path / "folder/checkpoints/runs"
        )


def test_a_training_opens_its_database_once(tmp_path, monkeypatch):
    opened = []
    start = Store.__init__
    monkeypatch.setattr(Store, "__init__", lambda self, one: (opened.append(one.address), start(self, one))[1])
    with Workspace.open(tmp_path / "runs.db", Machine(CPU, tmp_path)) as workspace:
        list(train_run(workspace, RunRequest(DIGITS, None, "a", 0)))
        list(train_run(workspace, RunRequest(DIGITS, None, "a", 0)))
    assert opened == [tmp_path / "runs.db"]


@pytest.mark.parametrize("kind", ["file", "server"])
def test_forked_and_spawned_processes_connect_anew_beside_the_one_that_opened_it(tmp_path, kind, request):
    """SQLite's files are damaged by a connection that two processes share, and a server's answers mixed up."""
    on_server = kind == "server"
    database = request.getfixturevalue("postgresql_database")("made") if on_server else tmp_path / "runs.db"
    with Workspace.open(database, Machine(CPU, tmp_path)) as workspace:
        store = workspace.store
        list(train_run(workspace, RunRequest(DIGITS, None, "a", 0)))
        number = store.run("a").number
        with pickle.loads(pickle.dumps(workspace)).store as sent:
            assert sent.runs() == store.runs()
        for method, last in (("fork", 1003), ("spawn", 2003)):
            # A bound method, for a spawned process cannot import a test.
            processes = [
                multiprocessing.get_context(method).Process(target=store.set_saved, args=(number, update))
                for update in range(last - 2, last + 1)
            ]
            for process in processes:
                process.start()
            for _ in range(50):
                store.set_saved(number, 1)
            for process in processes:
                process.join(60)
            assert [process.exitcode for process in processes] == [0, 0, 0]
            assert store.run("a").update == last
    assert check(address_of(database)) == []


def test_a_store_that_only_reads_makes_no_missing_file(tmp_path):
    with Store.at(tmp_path / "runs.db") as store:
        assert (store.runs(), store.run_names(), store.results_of([])) == ([], [], [])
    assert list(tmp_path.iterdir()) == []
