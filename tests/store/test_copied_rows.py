"""Copying the rows of a database to one of the other kind, or of its own."""

import math
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
from raw_sql import raw_sql
from sqlalchemy import MetaData

from lbadvisor.errors import RefusedError
from lbadvisor.recipe.file import load_recipe
from lbadvisor.records.run import Environment, Guarantee, Measurement, Reading, RunStatus
from lbadvisor.store import Store, address_of
from lbadvisor.store.address import DatabaseAddress
from lbadvisor.store.copied_rows import copy_rows, count_rows, refuse_rows
from lbadvisor.store.tables import metadata

DIGITS = load_recipe(Path(__file__).parents[2] / "recipes" / "digits.toml")
CPU = Environment("cpu", "a test's processor", "0.1.0", "3.11.7", "2.15.0", "c0ffee", True)
PAIRS = [("sqlite", "postgresql"), ("postgresql", "sqlite"), ("sqlite", "sqlite")]


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[DatabaseAddress, DatabaseAddress]:
    """A database and another one, neither with tables."""

    def new(kind: str, name: str) -> DatabaseAddress:
        if kind == "sqlite":
            return tmp_path / name / "runs.db"
        make: Callable[[str], str] = request.getfixturevalue("postgresql_database")
        return address_of(make("template1"))

    one, other = request.param
    return new(one, "one"), new(other, "other")


@contextmanager
def copied(source: DatabaseAddress, target: DatabaseAddress):
    """Both stores, with the rows copied, and how many there are in each table."""
    with Store.open(source, create=False) as one, Store.at(target) as other:
        with one.database.reading() as reader, other.database.writing() as writer:
            counts = count_rows(reader, source, MetaData())
            done = [0, *copy_rows(reader, writer, source, counts)]
        assert done == sorted(done)
        assert done[-1] == sum(counts.values())
        yield one, other, {table.name: count for table, count in counts.items()}


def rows_of(database: DatabaseAddress) -> dict[str, set]:
    """Every row of every table, as plain SQL gives them: a file's moments and booleans as a server's are shown."""
    texts = {name: raw_sql(database, f"SELECT * FROM {name}") for name in metadata.tables}
    return {name: {tuple(map(_plain, row)) for row in rows} for name, rows in texts.items()}


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    return value.isoformat(" ", "microseconds") if hasattr(value, "isoformat") else value


def fill(store: Store) -> None:
    """Runs, of which the last was deleted, a plan, a ladder, and what was measured, nan and infinite among it."""
    wide = DIGITS.model_copy(update={"name": "wide"})
    plan = store.add_plan('{"a": "\\u00e9 \\u2713"}', DIGITS, wide)
    for name in ("a", "b", "c"):
        store.add_run(name, wide, 2**63 - 1, 10, CPU, plan, Guarantee.BIT_EXACT)
    store.record(
        1,
        [
            Measurement(1, 0.5, 640, math.nan, 0.1, math.inf, math.nan, -math.inf, None, None, 1.0),
            Measurement(2, 1.0, 1280, 1 / 3, 0.1, 5e-324, 0.0, 1.7976931348623157e308, math.nan, 99.9, 2.0),
        ],
        [Reading(2, "weight_norm", "linear 1", math.nan), Reading(2, "weight_norm", "linear 2", 0.1)],
    )
    store.set_status(1, RunStatus.FAILED, "because of \u00e9, \u2713 and a\nline")
    store.set_status(2, RunStatus.STOPPED, None, resumed=True)
    ladder = store.add_ladder("l", DIGITS, 256)
    store.add_to_ladder(ladder.number, "RA", 1)
    store.delete_run(3)


def test_every_row_of_every_table_is_copied_as_it_is(pair):
    with Store.open(pair[0], create=True) as store:
        fill(store)
    with copied(*pair) as (one, other, counts):
        assert rows_of(pair[0]) == rows_of(pair[1])
        assert counts == {name: len(rows) for name, rows in rows_of(pair[0]).items()}
        assert {name for name, count in counts.items() if count} == set(metadata.tables)
        assert one.runs() == other.runs()
        assert repr(one.measurements(1)) == repr(other.measurements(1))
        assert repr(one.readings(1)) == repr(other.readings(1))
        assert one.ladders() == other.ladders()


def test_new_rows_of_the_copy_get_new_numbers_and_none_of_a_deleted_run(pair):
    """Run 3 was deleted; recipes, plans and ladders continue as well."""
    with Store.open(pair[0], create=True) as store:
        fill(store)
    with copied(*pair) as (_, other, _counts):
        third = DIGITS.model_copy(update={"name": "third"})
        assert other.add_plan("{}", DIGITS, third) == 2
        assert other.add_run("d", third, 0, 10, CPU).number == 4
        assert other.add_ladder("m", DIGITS, 512).number == 2


def test_a_database_whose_runs_were_all_deleted_gives_none_of_their_numbers_again(pair):
    with Store.open(pair[0], create=True) as store:
        store.add_run("a", DIGITS, 0, 10, CPU)
        store.delete_run(1)
    with copied(*pair) as (_, other, _counts):
        assert other.add_run("b", DIGITS, 0, 10, CPU).number == 2


def test_an_empty_database_is_copied_and_begins_at_one(pair):
    with Store.open(pair[0], create=True):
        pass
    with copied(*pair) as (_, other, counts):
        assert set(counts.values()) == {0}
        assert other.add_run("a", DIGITS, 0, 10, CPU).number == 1


def test_more_rows_than_are_read_at_once(pair, monkeypatch):
    monkeypatch.setattr("lbadvisor.store.copied_rows.ROWS_AT_ONCE", 3)
    with Store.open(pair[0], create=True) as store:
        store.add_run("a", DIGITS, 0, 10, CPU)
        store.record(1, [Measurement(u, 0.5, 640, 1.0, 0.1, 1.0, 0.0, 1.0, None, None, 1.0) for u in range(1, 9)])
    with copied(*pair) as (one, other, counts):
        assert counts["measurements"] == 8
        assert one.measurements(1) == other.measurements(1)


@pytest.mark.parametrize("left", ["runs", "recipes"])
def test_a_database_with_rows_is_not_empty(pair, left):
    """Though all of its runs were deleted: their numbers stay taken."""
    for address in pair:
        with Store.open(address, create=True) as store:
            with store.database.reading() as connection:
                refuse_rows(connection, address)
            store.add_run("a", DIGITS, 0, 10, CPU)
            if left == "recipes":
                store.delete_run(1)
            advice = f"it has {left} already: copy to a new database, or to an empty one"
            with store.database.reading() as connection, pytest.raises(RefusedError, match=advice):
                refuse_rows(connection, address)
