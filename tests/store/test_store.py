"""The store keeps what it is given, gives it back as records, and says in one line why it cannot."""

import math
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from raw_sql import raw_sql
from sqlalchemy import Engine, event

from lbadvisor.errors import StoreError, UnknownRunError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.records.quantities import GROUP_DISTANCE, GROUP_NORM
from lbadvisor.records.run import Environment, Measurement, Reading, RunStatus
from lbadvisor.store import Store, address_of
from lbadvisor.store.address import DatabaseAddress
from lbadvisor.store.tables import measurements as measurements_table

CPU = Environment("cpu", "a test's processor", "0.1.0", "3.11.7", "2.15.0", None, None)


def a_recipe(name: str = "tiny", batch_size: int = 64) -> Recipe:
    return Recipe.model_validate(
        {
            "schema": 1,
            "name": name,
            "data": {"name": "digits", "train_examples": 1297},
            "model": {"name": "digits_mlp"},
            "batch": {"size": batch_size},
            "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
            "schedule": {
                "epochs": 10.0,
                "milestones": [{"epoch": 5.0, "lr_factor": 0.1}],
            },
        }
    )


def a_measurement(update: int, loss: float = 1.5) -> Measurement:
    return Measurement(update, update / 10, update * 64, loss, 0.1, 2.25, 0.5, 0.125, None, None, update * 0.01)


def test_a_run_comes_back_as_it_was_added(store: Store) -> None:
    before = datetime.now(UTC)
    environment = Environment("cuda", "NVIDIA H200", "0.1.0", "3.11.7", "2.15.0", "0f" * 20, True)
    added = store.add_run("tiny-b64-s7", a_recipe(), 7, 203, environment)
    with store.only_process(added):
        assert store.find_run("tiny-b64-s7") == store.run("tiny-b64-s7") == store.run(str(added.number)) == added
    assert added.recipe == a_recipe()
    assert added.environment == environment
    assert (added.number, added.seed, added.update, added.updates, added.resumes) == (1, 7, 0, 203, 0)
    assert (added.status, added.ended_because, added.plan_number) == (RunStatus.RUNNING, None, None)
    assert before <= added.created_at == added.changed_at <= datetime.now(UTC)
    assert added.created_at.tzinfo is UTC


def test_runs_are_listed_by_number_and_by_status(store: Store) -> None:
    for name in ("c", "a", "b"):
        store.add_run(name, a_recipe(), 0, 10, CPU)
    store.set_status(2, RunStatus.COMPLETE, None)
    assert store.run_names() == ["c", "a", "b"]
    assert [run.number for run in store.runs()] == [1, 2, 3]
    assert [run.name for run in store.runs(RunStatus.COMPLETE)] == ["a"]


def test_equal_recipes_are_kept_once(store: Store) -> None:
    for name, recipe in (("a", a_recipe()), ("b", a_recipe()), ("c", a_recipe(batch_size=128))):
        store.add_run(name, recipe, 0, 10, CPU)
    assert raw_sql(store.address, "SELECT count(*) FROM recipes") == [(2,)]
    assert [run.recipe.batch.size for run in store.runs()] == [64, 64, 128]


def test_a_plan_added_twice_has_one_number(store: Store) -> None:
    baseline, adapted = a_recipe(), a_recipe("tiny-b512", 512)
    first = store.add_plan('{"plan": 1}', baseline, adapted)
    other = store.add_plan('{"plan": 2}', baseline, adapted)
    assert store.add_plan('{"plan": 1}', baseline, adapted) == first != other
    assert store.plan_json(other) == '{"plan": 2}'
    assert store.add_run("adapted", adapted, 0, 10, CPU, plan_number=other).plan_number == other


def test_a_plan_that_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="no plan 5"):
        store.add_run("a", a_recipe(), 0, 10, CPU, plan_number=5)
    with pytest.raises(StoreError, match="no plan 5"):
        store.plan_json(5)
    assert store.runs() == []


def test_a_name_is_given_once(store: Store) -> None:
    store.add_run("a", a_recipe(), 0, 10, CPU)
    with pytest.raises(StoreError, match="named 'a' already"):
        store.add_run("a", a_recipe(), 1, 10, CPU)
    assert len(store.runs()) == 1


@pytest.mark.parametrize("name", ["7", "007", "", " a", "a\n", "\udcff"])
def test_what_is_no_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="a run cannot be named"):
        store.add_run(name, a_recipe(), 0, 10, CPU)


def test_a_seed_beyond_64_bits_is_refused(store: Store) -> None:
    assert store.add_run("largest", a_recipe(), 2**63 - 1, 10, CPU).seed == 2**63 - 1
    with pytest.raises(StoreError, match="seed 9223372036854775808 is too large"):
        store.add_run("larger", a_recipe(), 2**63, 10, CPU)


def test_an_unknown_name_is_answered_with_a_near_one(store: Store) -> None:
    store.add_run("resnet44-b4096", a_recipe(), 0, 10, CPU)
    with pytest.raises(UnknownRunError, match="did you mean 'resnet44-b4096'"):
        store.run("resnet44-b4069")
    with pytest.raises(UnknownRunError, match="`lbadvisor runs` lists them"):
        store.run("zzz")
    assert store.find_run("zzz") is None


@pytest.mark.parametrize("asked", ["2", "0", "9" * 5000, "\udcff"])
def test_an_unknown_number_or_an_impossible_name_is_an_unknown_run(store: Store, asked: str) -> None:
    store.add_run("a", a_recipe(), 0, 10, CPU)
    with pytest.raises(UnknownRunError):
        store.run(asked)


def test_every_change_of_an_unknown_run_is_refused(store: Store) -> None:
    for change in (
        lambda: store.record(9, [a_measurement(1)]),
        lambda: store.discard_after(9, 0),
        lambda: store.set_status(9, RunStatus.COMPLETE, None),
        lambda: store.measurements(9),
    ):
        with pytest.raises(UnknownRunError, match="there is no run 9"):
            change()


def test_measurements_come_back_in_order_and_bit_for_bit(store: Store) -> None:
    number = store.add_run("a", a_recipe(), 0, 300, CPU).number
    evaluated = replace(a_measurement(20, 0.1 + 0.2), evaluation_loss=1 / 3, evaluation_accuracy_percent=97.4)
    store.record(number, [evaluated, a_measurement(10, math.inf)])
    store.record(number, [a_measurement(5, 5e-324)])
    assert store.measurements(number) == [a_measurement(5, 5e-324), a_measurement(10, math.inf), evaluated]
    assert store.run("a").update == 20


def test_nan_comes_back_as_nan(store: Store) -> None:
    number = store.add_run("a", a_recipe(), 0, 300, CPU).number
    diverged = Measurement(10, 0.5, 640, math.nan, 0.1, math.nan, math.nan, math.nan, math.nan, 10.0, seconds=1.0)
    store.record(number, [diverged])
    (back,) = store.measurements(number)
    # A nan is not equal to itself; its text is.
    assert repr(back) == repr(diverged)


def test_a_measurement_has_one_column_per_field() -> None:
    assert list(measurements_table.c.keys()) == ["run", *(field.name for field in fields(Measurement))]


def test_recording_an_interval_twice_changes_nothing(store: Store) -> None:
    number = store.add_run("a", a_recipe(), 0, 300, CPU).number
    interval = [a_measurement(update) for update in (10, 20, 30)]
    store.record(number, interval)
    once = (store.measurements(number), store.run("a").update)
    store.record(number, interval[:2])
    assert (store.measurements(number), store.run("a").update) == once == (interval, 30)


def test_a_measurement_made_again_replaces_the_old_one(store: Store) -> None:
    number = store.add_run("a", a_recipe(), 0, 300, CPU).number
    store.record(number, [a_measurement(10, 1.0)])
    store.record(number, [a_measurement(10, 2.0)])
    assert [one.loss for one in store.measurements(number)] == [2.0]


def a_reading(update: int, part: str = "linear 1", value: float = 1.5) -> Reading:
    return Reading(update, GROUP_NORM.key, part, value)


def test_readings_come_back_by_update_and_in_the_order_of_their_parts(store: Store) -> None:
    number = store.add_run("a", a_recipe(), 0, 300, CPU).number
    ten, two = (a_reading(10, part, value) for part, value in (("linear 10", 1 / 3), ("linear 2", math.inf)))
    other = Reading(5, GROUP_DISTANCE.key, "linear 2", 5e-324)
    store.record(number, [a_measurement(5), a_measurement(10)], [ten, two, other])
    assert store.readings(number) == [other, two, ten]
    assert store.readings(number, GROUP_NORM) == [two, ten]
    assert store.readings(number, GROUP_NORM, GROUP_DISTANCE) == [other, two, ten]
    with pytest.raises(UnknownRunError, match="there is no run 9"):
        store.readings(9)


def test_a_reading_that_is_nan_comes_back_as_nan(store: Store) -> None:
    number = store.add_run("a", a_recipe(), 0, 300, CPU).number
    store.record(number, [a_measurement(10)], [a_reading(10, value=math.nan)])
    assert repr(store.readings(number)) == repr([a_reading(10, value=math.nan)])


def test_readings_are_replaced_discarded_and_deleted_with_their_measurements(store: Store) -> None:
    number, other = (store.add_run(name, a_recipe(), 0, 300, CPU).number for name in ("a", "b"))
    for run in (number, other):
        store.record(run, [a_measurement(10), a_measurement(20)], [a_reading(10), a_reading(20)])
    store.record(number, [a_measurement(20)], [a_reading(20, value=2.5)])
    assert store.readings(number) == [a_reading(10), a_reading(20, value=2.5)]
    store.discard_after(number, 10)
    assert store.readings(number) == [a_reading(10)]
    store.delete_run(number)
    assert store.readings(other) == [a_reading(10), a_reading(20)]
    assert raw_sql(store.address, "SELECT DISTINCT run FROM readings") == [(other,)]


def test_readings_are_stored_with_their_measurements_or_not_at_all(store: Store) -> None:
    number = store.add_run("a", a_recipe(), 0, 300, CPU).number
    with pytest.raises(StoreError):
        store.record(number, [a_measurement(10)], [replace(a_reading(10), part=None)])
    assert (store.measurements(number), store.readings(number), store.run("a").update) == ([], [], 0)


def test_recording_nothing_is_no_change(store: Store) -> None:
    run = store.add_run("a", a_recipe(), 0, 300, CPU)
    before = store.run("a")
    store.record(run.number, [])
    assert store.run("a") == before


def test_discarding_after_a_checkpoint_keeps_what_came_before_it(store: Store) -> None:
    number = store.add_run("a", a_recipe(), 0, 300, CPU).number
    other = store.add_run("b", a_recipe(), 0, 300, CPU).number
    for one in (number, other):
        store.record(one, [a_measurement(update) for update in (10, 20, 30)])
    store.discard_after(number, 20)
    assert [one.update for one in store.measurements(number)] == [10, 20]
    assert store.run("a").update == 20
    # A kill between a save and its note in the database: the run stands at its checkpoint.
    store.discard_after(number, 25)
    assert store.run("a").update == 25
    assert len(store.measurements(other)) == 3


def test_a_status_has_a_reason_and_resumes_are_counted(store: Store) -> None:
    run = store.add_run("a", a_recipe(), 0, 300, CPU)
    store.set_status(run.number, RunStatus.STOPPED, "signal SIGTERM")
    stopped = store.run("a")
    assert (stopped.status, stopped.ended_because, stopped.resumes) == (RunStatus.STOPPED, "signal SIGTERM", 0)
    assert stopped.changed_at > stopped.created_at == run.created_at
    store.set_status(run.number, RunStatus.RUNNING, None, resumed=True)
    with store.only_process(run):
        going_on = store.run("a")
    assert (going_on.status, going_on.ended_because, going_on.resumes) == (RunStatus.RUNNING, None, 1)


def test_measurements_of_many_runs_keep_the_order_asked_for(store: Store) -> None:
    for number in (1, 2, 3):
        store.add_run(f"r{number}", a_recipe(), number, 300, CPU)
        plain, evaluated = a_measurement(number), a_measurement(number + 10)
        evaluated = replace(evaluated, evaluation_loss=0.5, evaluation_accuracy_percent=90.0)
        store.record(number, [plain, evaluated])
    assert [[one.update for one in taken] for taken in store.measurements_of([3, 1])] == [[3, 13], [1, 11]]
    evaluated_only = store.measurements_of([1, 2, 3], evaluated_only=True)
    assert [[one.update for one in taken] for taken in evaluated_only] == [[11], [12], [13]]
    assert store.measurements_of([]) == []


def _write_a_run(database: str, name: str, intervals: int) -> None:
    with Store.open(database, create=True) as store:
        number = store.add_run(name, a_recipe(name), 0, 500, CPU).number
        for interval in range(intervals):
            store.record(number, [a_measurement(interval * 10 + one) for one in range(1, 11)])


def test_four_processes_make_one_database_and_lose_and_double_nothing(address: DatabaseAddress) -> None:
    """They start together, so that they also make the tables, and the file, at the same moment."""
    # The children get no path to this module from pytest's importlib mode: they run it as a script.
    script = (
        "import runpy, sys; sys.path.append(sys.argv[1]); "
        "runpy.run_path(sys.argv[2])['_write_a_run'](sys.argv[3], sys.argv[4], 50)"
    )
    names = ["a", "b", "c", "d"]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(Path(__file__).parents[1]), __file__, str(address), name],
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    assert [child.communicate(timeout=120)[1] for child in children] == ["", "", "", ""]
    with Store.open(address, create=False) as store:
        assert sorted(store.run_names()) == names
        for run in store.runs():
            assert run.update == 500
            assert store.measurements(run.number) == [a_measurement(update) for update in range(1, 501)]


def test_the_default_database_is_the_environments_or_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LBADVISOR_DB", "elsewhere/x.db")
    assert address_of(None) == Path("elsewhere/x.db")
    monkeypatch.delenv("LBADVISOR_DB")
    assert address_of(None) == Path("db/lbadvisor.db")


def test_reading_a_missing_database_makes_nothing(tmp_path: Path) -> None:
    missing = tmp_path / "db" / "lbadvisor.db"
    with pytest.raises(StoreError, match=r"no database at .*lbadvisor\.db yet: `lbadvisor train` creates it"):
        Store.open(missing, create=False)
    assert list(tmp_path.iterdir()) == []


def test_reading_leaves_another_programs_database_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="has no runs of this program"):
        Store.open(path, create=False)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_closed_store_is_one_file(path: Path) -> None:
    with Store.open(path, create=True) as store:
        store.add_run("a", a_recipe(), 0, 10, CPU)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["100% mine?.db", "a b#c&mode=memory.db", "größe.db"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    with Store.open(tmp_path / name, create=True) as store:
        store.add_run("a", a_recipe(), 0, 10, CPU)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("create", [True, False])
def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path, create: bool) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are notes, and far from a database. " * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"notes\.txt: it is not a SQLite database") as caught:
        Store.open(path, create=create)
    assert caught.value.__cause__ is not None
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("create", [True, False])
def test_a_folder_is_no_database(tmp_path: Path, create: bool) -> None:
    with pytest.raises(StoreError, match="it is a folder"):
        Store.open(tmp_path, create=create)


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("")
    with pytest.raises(StoreError, match="it cannot be opened"):
        Store.open(tmp_path / "db" / "lbadvisor.db", create=True)


def test_a_damaged_database_is_named(path: Path) -> None:
    with Store.open(path, create=True) as store:
        store.add_run("a", a_recipe(), 0, 10, CPU)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"runs\.db: it is damaged"), Store.open(path, create=False) as store:
        store.runs()


def test_a_full_disk_is_named_and_the_change_is_undone_whole(path: Path) -> None:
    with Store.open(path, create=True) as store:
        number = store.add_run("a", a_recipe(), 0, 10_000, CPU).number
        store.record(number, [a_measurement(1)])

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count=30")

    event.listen(Engine, "connect", limit)
    try:
        with Store.open(path, create=False) as store:
            with pytest.raises(StoreError, match=r"runs\.db: the disk is full.*free disk space"):
                store.record(number, [a_measurement(update) for update in range(2, 5000)])
            assert store.measurements(number) == [a_measurement(1)]
    finally:
        event.remove(Engine, "connect", limit)


def test_a_database_locked_beyond_the_timeout_is_named(path: Path) -> None:
    with (
        Store.open(path, create=True),
        Store.open(path, create=False, lock_timeout_seconds=0.05) as store,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"runs\.db: it is locked by another process"):
            store.add_run("a", a_recipe(), 0, 10, CPU)
        assert store.runs() == []
        other.execute("COMMIT")
        assert store.add_run("a", a_recipe(), 0, 10, CPU).number == 1


def test_a_recipe_that_this_program_cannot_read_names_its_run(store: Store) -> None:
    store.add_run("a", a_recipe(), 0, 10, CPU)
    raw_sql(store.address, "UPDATE recipes SET body = '{}'")
    with pytest.raises(StoreError, match=r"run 1 \(a\) was written by another version"):
        store.runs()


@pytest.fixture
def unprivileged_path() -> Iterator[Path]:
    """A database in a folder of our own, and no right to pass over permissions, which root has."""
    folder = Path(tempfile.mkdtemp())
    path = folder / "runs.db"
    Store.open(path, create=True).close()
    user, nobody = os.geteuid(), 65534
    if user == 0:
        os.chown(folder, nobody, nobody)
        os.chown(path, nobody, nobody)
        os.seteuid(nobody)
    try:
        yield path
    finally:
        os.seteuid(user)
        folder.chmod(0o700)
        shutil.rmtree(folder)


def test_a_folder_that_cannot_be_written_is_named(unprivileged_path: Path) -> None:
    folder = unprivileged_path.parent
    folder.chmod(0o500)
    for path in (folder / "new.db", folder / "db" / "new.db"):
        with pytest.raises(StoreError, match=r"new\.db: it cannot be opened: check that you can read and write"):
            Store.open(path, create=True)


def test_a_file_that_cannot_be_read_is_named(unprivileged_path: Path) -> None:
    unprivileged_path.chmod(0)
    with pytest.raises(StoreError, match=r"runs\.db: it cannot be opened"):
        Store.open(unprivileged_path, create=False)


def test_a_file_in_a_closed_folder_is_named(unprivileged_path: Path) -> None:
    unprivileged_path.parent.chmod(0)
    with pytest.raises(StoreError, match=r"runs\.db: it cannot be opened"):
        Store.open(unprivileged_path, create=False)


def test_a_file_that_cannot_be_written_is_read_all_the_same(unprivileged_path: Path) -> None:
    unprivileged_path.chmod(0o400)
    with Store.open(unprivileged_path, create=False) as store:
        assert store.runs() == []
        with pytest.raises(StoreError, match=r"runs\.db: it cannot be written"):
            store.add_run("a", a_recipe(), 0, 10, CPU)


def test_the_store_loads_neither_torch_nor_alembic_to_read(path: Path) -> None:
    Store.open(path, create=True).close()
    script = (
        "import sys; from pathlib import Path; import lbadvisor.store; "
        "assert 'sqlalchemy' not in sys.modules; "
        "lbadvisor.store.Store.open(Path(sys.argv[1]), create=False).runs(); "
        "assert 'sqlalchemy' in sys.modules; assert not {'torch', 'alembic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, timeout=60)
