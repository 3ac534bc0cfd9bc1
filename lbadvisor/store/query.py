"""The user's own SQL queries, which can only read."""

from dataclasses import dataclass
from pathlib import Path

from lbadvisor.store.schema import require_file
from lbadvisor.store.sqlite import explained, read_only_answer

Cell = str | int | float | bytes | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's rows and the names of their columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def query(path: Path, sql: str) -> Answer:
    """What one `SELECT` reads in the file `path`: see `read_only_answer`. Raises `StoreError` if it cannot be read."""
    require_file(path)
    with explained(path):
        return Answer(*read_only_answer(path, sql))
