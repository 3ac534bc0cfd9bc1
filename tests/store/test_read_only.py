"""A database that may not be written is read: on a read-only mount, or in a folder without the right to write."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lbadvisor.cli.app import app
from lbadvisor.errors import StoreError
from lbadvisor.planning.arms import ARMS
from lbadvisor.planning.planned_arms import LadderRequest, planned
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import scaled
from lbadvisor.records.run import Environment, RunStatus
from lbadvisor.runs.ladder import RunEnds, train_ladder
from lbadvisor.runs.workspace import Workspace
from lbadvisor.store import Store, schema
from lbadvisor.store.query import query
from lbadvisor.store.run_folder import checkpoint_folder, only_process
from lbadvisor.training.machine import Machine

CPU = Environment("cpu", "a test's processor", "0.1.0", "3.11.7", "2.15.0", None, None)
RECIPE = Recipe.model_validate(
    {
        "schema": 1,
        "name": "tiny",
        "data": {"name": "digits", "train_examples": 1297},
        "model": {"name": "digits_mlp"},
        "batch": {"size": 64},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "schedule": {"updates": 10},
    }
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a database of the complete run `a`."""
    made = tmp_path / "made"
    with Store.open(made / "runs.db", create=True) as store:
        store.add_run("a", RECIPE, 0, 10, CPU)
        store.set_status(1, RunStatus.COMPLETE, None)
    return made


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """The folder as nobody here may write it: root sees it mounted so, anybody else loses the right."""
    if os.geteuid():
        (folder / "runs.db").chmod(0o444)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    mount = folder.with_name("mounted")
    mount.mkdir()
    if subprocess.run(["mount", "--bind", folder, mount], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", mount], check=True)
        yield mount
    finally:
        # Lazily: SQLite keeps a file open while the same process writes it elsewhere.
        subprocess.run(["umount", "--lazy", mount], check=True)


def names(path: Path) -> list[str]:
    """Through the store, which must agree with a query."""
    with Store.open(path, create=False) as store:
        found = store.run_names()
    assert [row[0] for row in query(path, "SELECT name FROM runs").rows] == found
    assert schema.check(path) == []
    return found


@contextmanager
def a_killed_writers(folder: Path, *suffixes: str) -> Iterator[Path]:
    """A copy of the database as a writer leaves it that is killed: with the run `b` in its log alone."""
    path = folder / "runs.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        columns = ", ".join(f'"{row[1]}"' for row in connection.execute("PRAGMA table_info(runs)"))
        chosen = columns.replace('"number"', "2").replace('"name"', "'b'")
        connection.execute(f"INSERT INTO runs ({columns}) SELECT {chosen} FROM runs")
        left = folder.with_name("left")
        left.mkdir()
        for suffix in ("", *suffixes):
            shutil.copyfile(f"{path}{suffix}", left / f"{path.name}{suffix}")
    yield left


def test_a_read_only_database_is_read_by_every_command_that_reads_and_nothing_is_made(folder: Path) -> None:
    with read_only(folder) as place:
        path, before = place / "runs.db", sorted(place.iterdir())
        assert names(path) == ["a"]
        for words in (
            ["runs"],
            ["runs", "show", "a"],
            ["runs", "export"],
            ["db", "check"],
            ["db", "query", "--sql", "SELECT name FROM runs"],
        ):
            result = CliRunner().invoke(app, [*words, "--db", str(path)])
            assert result.exit_code == 0, (words, result.exception)
        assert sorted(place.iterdir()) == before


def test_what_a_killed_writer_left_in_the_log_is_read_too(folder: Path) -> None:
    """Immutable mode alone would not see it: the file itself has the run `a` only."""
    with a_killed_writers(folder, "-wal") as left, read_only(left) as place:
        assert names(place / "runs.db") == ["a", "b"]
        assert sorted(file.name for file in place.iterdir()) == ["runs.db", "runs.db-wal"]


def test_a_log_with_its_index_is_read_where_it_lies(folder: Path) -> None:
    with a_killed_writers(folder, "-wal", "-shm") as left, read_only(left) as place:
        assert names(place / "runs.db") == ["a", "b"]


def test_a_change_that_was_never_finished_is_rolled_back_in_what_is_read(folder: Path) -> None:
    """Without a log: a file system without shared memory keeps SQLite's older journal."""
    path, left = folder / "runs.db", folder.with_name("left")
    left.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA cache_size=1")
        connection.execute("PRAGMA cache_spill=1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE runs SET name = 'half'")
        connection.execute("CREATE TABLE filler AS SELECT hex(randomblob(100000)) FROM runs")
        for suffix in ("", "-journal"):
            shutil.copyfile(f"{path}{suffix}", left / f"{path.name}{suffix}")
        connection.execute("ROLLBACK")
    assert b"half" in (left / "runs.db").read_bytes()
    with read_only(left) as place:
        assert names(place / "runs.db") == ["a"]


@pytest.mark.skipif(os.geteuid() != 0, reason="one process may write and another not only on two mounts")
def test_what_a_living_writer_elsewhere_adds_is_seen(folder: Path) -> None:
    with Store.open(folder / "runs.db", create=False) as writer, read_only(folder) as place:
        writer.add_run("b", RECIPE, 1, 10, CPU)
        assert names(place / "runs.db") == ["a", "b"]
        run = writer.run("b")
        with Store.open(place / "runs.db", create=False) as reader:
            assert reader.run("b").status is RunStatus.INTERRUPTED
            with only_process(checkpoint_folder(folder / "runs.db", run), "b"):
                assert reader.run("b").status is RunStatus.RUNNING


@pytest.mark.parametrize("left", [(), ("-wal",), ("-wal", "-shm")], ids=str)
def test_writing_is_refused_in_one_line_and_never_lost_in_silence(folder: Path, left: tuple[str, ...]) -> None:
    with (
        a_killed_writers(folder, *left) as copy,
        read_only(copy) as place,
        Store.open(place / "runs.db", create=False) as store,
    ):
        for write in (
            lambda: store.rename_run(1, "c"),
            lambda: store.delete_run(1),
            lambda: store.set_status(1, RunStatus.FAILED, None),
        ):
            with pytest.raises(StoreError, match="it cannot be written: get write permission for it and its folder"):
                write()


def test_a_complete_ladder_is_shown_from_a_read_only_database(tmp_path: Path) -> None:
    digits = scaled(load_recipe(Path(__file__).parents[2] / "recipes" / "digits.toml"), 0.05)
    arms = tuple(planned(arm, digits, Request(256, ()), 1) for arm in (ARMS["sb"], ARMS["lb"]))

    def ends(folder: Path) -> list[bool]:
        request, here = LadderRequest("l", digits, 256, arms), Machine.here("cpu", tmp_path)
        with Workspace.open(folder / "runs.db", here) as workspace:
            return [event.was_there for event in train_ladder(workspace, request) if isinstance(event, RunEnds)]

    assert ends(tmp_path / "made") == [False, False]
    with read_only(tmp_path / "made") as place:
        assert ends(place) == [True, True]
