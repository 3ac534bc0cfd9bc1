"""The user's own SQL queries, which can only read."""

from dataclasses import dataclass

from lbadvisor.store.address import DatabaseAddress
from lbadvisor.store.dialect import dialect_of
from lbadvisor.store.schema import require

Cell = str | int | float | bytes | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's rows and the names of their columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def query(database: DatabaseAddress, sql: str) -> Answer:
    """What one `SELECT` reads in the database, which it cannot change. Raises `StoreError` if it cannot be read."""
    require(database)
    dialect = dialect_of(database)
    with dialect.explained(database):
        return Answer(*dialect.read_only_answer(database, sql))
