"""Copies the rows of a database to another, of either kind."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Connection, MetaData, RowMapping, Select, String, Table, func, literal, select, table

from lbadvisor.errors import RefusedError
from lbadvisor.store.address import DatabaseAddress
from lbadvisor.store.dialect import dialect_of
from lbadvisor.store.tables import metadata
from lbadvisor.store.write_rows import insert_or

ROWS_AT_ONCE = 5000

_version_of_studies = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))


def refuse_rows(connection: Connection, address: DatabaseAddress) -> None:
    """Raise `RefusedError` if the database has rows of this program, or a study."""
    for name in ("runs", "studies", *metadata.tables):
        any_row = select(literal(1)).select_from(table(name)).limit(1)
        if dialect_of(connection).has_table(connection, name) and connection.scalar(any_row):
            raise RefusedError(f"database {address}: it has {name} already: copy to a new database, or to an empty one")


def copy_rows(
    reader: Connection, writer: Connection, source: DatabaseAddress, studies: MetaData
) -> Iterator[tuple[str, int, int]]:
    """Copy all rows of this program from `source`, read by `reader`, and of Optuna's tables, `studies`, if it has them.

    Yields as it goes: a table, how many of its rows are copied, and how many it has. Raises `RefusedError` if another
    program has rows in one of the tables.
    """
    tables = list(metadata.sorted_tables)
    if dialect_of(reader).has_table(reader, "studies"):
        studies.create_all(writer)
        _version_of_studies.create(writer, checkfirst=True)
        tables += (*studies.sorted_tables, _version_of_studies)
    for copied in tables:
        done = total = 0
        for total, rows in _pieces(reader, source, copied):
            if rows:
                # Only Optuna's two tables with its version may have rows already: the same.
                writer.execute(insert_or(writer, "ignore", copied), [dict(row) for row in rows])
            done += len(rows)
            yield copied.name, done, total
        if writer.scalar(_count(copied)) != total:
            raise RefusedError(f"the table {copied.name} has rows of another program: copy to a database of its own")
        if copied.autoincrement_column is not None:
            dialect_of(writer).continue_after(writer, copied, dialect_of(reader).last_number(reader, copied))


def _pieces(reader: Connection, source: DatabaseAddress, copied: Table) -> Iterator[tuple[int, Sequence[RowMapping]]]:
    """How many rows the table has, and no row at first, then some at a time."""
    with dialect_of(source).explained(source):
        total = reader.scalar(_count(copied)) or 0
        yield total, ()
        found = reader.execute(select(copied), execution_options={"yield_per": ROWS_AT_ONCE})
        yield from ((total, rows) for rows in found.mappings().partitions())


def _count(copied: Table) -> Select[Any]:
    return select(func.count()).select_from(copied)
