"""What several changes of the database share: names, recipes, the row of a run."""

from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Insert, Table, case, insert, select, update

from lbadvisor.errors import StoreError, UnknownRunError
from lbadvisor.recipe.recipe import Recipe, recipe_hash
from lbadvisor.store.dialect import dialect_of
from lbadvisor.store.tables import recipes, runs


def check_name(name: str) -> None:
    """Raise `StoreError` unless a run may have that name."""
    if name.isdecimal():
        raise StoreError(f"a run cannot be named {name!r}: a plain number is a run's number")
    if not name or not name.isprintable() or name != name.strip():
        raise StoreError(f"a run cannot be named {name!r}: use printable characters, without surrounding spaces")


def recipe_number(connection: Connection, recipe: Recipe) -> int:
    """The number of the recipe, which is stored once however often it is used."""
    digest = recipe_hash(recipe)
    known = connection.scalar(select(recipes.c.number).where(recipes.c.hash == digest))
    if known is not None:
        return int(known)
    return insert_row(connection, insert(recipes).values(hash=digest, name=recipe.name, body=recipe.model_dump_json()))


def insert_or(connection: Connection, then: Literal["replace", "ignore"], table: Table) -> Insert:
    """An insert; a row whose key is there already is replaced, or ignored."""
    statement = dialect_of(connection).insert(table)
    inserted: Insert
    if then == "ignore":
        inserted = statement.on_conflict_do_nothing()
        return inserted
    key = [column.name for column in table.primary_key]
    others = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in key}
    inserted = statement.on_conflict_do_update(index_elements=key, set_=others)
    return inserted


def insert_row(connection: Connection, statement: Insert) -> int:
    """The number of the new row."""
    key = connection.execute(statement).inserted_primary_key
    assert key is not None
    return int(key[0])


def change(connection: Connection, run_number: int, **values: object) -> None:
    """Set columns of the run's row. Raises `UnknownRunError`."""
    statement = update(runs).where(runs.c.number == run_number)
    if connection.execute(statement.values(changed_at=datetime.now(UTC), **values)).rowcount == 0:
        raise unknown_number(run_number)


def at_least(column: ColumnElement[Any], value: int) -> ColumnElement[Any]:
    """The column's value, or `value` if that is larger."""
    return case((column < value, value), else_=column)


def require_run(connection: Connection, run_number: int) -> None:
    """Raise `UnknownRunError` if there is no such run."""
    if connection.scalar(select(runs.c.number).where(runs.c.number == run_number)) is None:
        raise unknown_number(run_number)


def unknown_number(number: int | str) -> UnknownRunError:
    """The error for a run that is not there."""
    return UnknownRunError(f"there is no run {number}: `lbadvisor runs` lists them")
