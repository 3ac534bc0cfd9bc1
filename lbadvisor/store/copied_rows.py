"""Copies the rows of a database to another, of either kind."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, FromClause, MetaData, RowMapping, Select, String, Table, func, select
from sqlalchemy import table as named

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
        if dialect_of(connection).has_table(connection, name) and connection.scalar(_count(named(name))):
            raise RefusedError(f"database {address}: it has {name} already: copy to a new database, or to an empty one")


def count_rows(reader: Connection, source: DatabaseAddress, studies: MetaData) -> dict[Table, int]:
    """How many rows there are in each table of this program, and of Optuna, `studies`, if `source` has any of those.

    In an order in which the rows can be inserted.
    """
    with dialect_of(source).explained(source):
        tables = list(metadata.sorted_tables)
        if dialect_of(reader).has_table(reader, "studies"):
            tables += (*studies.sorted_tables, _version_of_studies)
        return {one: reader.scalar(_count(one)) or 0 for one in tables}


def copy_rows(
    reader: Connection, writer: Connection, source: DatabaseAddress, counts: Mapping[Table, int]
) -> Iterator[int]:
    """Copy the rows that were counted in `source`, in the same transaction; yields how many are copied, now and then.

    Raises `RefusedError` if another program has rows in one of the tables.
    """
    done = 0
    for table, count in counts.items():
        table.create(writer, checkfirst=True)
        for rows in _pieces(reader, source, table):
            # Only Optuna's two tables with its version may have rows already: the same.
            writer.execute(insert_or(writer, "ignore", table), [dict(row) for row in rows])
            done += len(rows)
            yield done
        if writer.scalar(_count(table)) != count:
            raise RefusedError(
                f"the new database's table {table.name} has rows of another program: copy to a database of its own"
            )
        if table.autoincrement_column is not None:
            dialect_of(writer).continue_after(writer, table, dialect_of(reader).last_number(reader, table))


def _pieces(reader: Connection, source: DatabaseAddress, table: Table) -> Iterator[Sequence[RowMapping]]:
    with dialect_of(source).explained(source):
        yield from reader.execute(select(table), execution_options={"yield_per": ROWS_AT_ONCE}).mappings().partitions()


def _count(table: FromClause) -> Select[Any]:
    return select(func.count()).select_from(table)
