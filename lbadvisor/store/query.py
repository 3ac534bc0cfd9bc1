"""The user's own SQL queries, which can only read."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from lbadvisor.errors import UsageError
from lbadvisor.store.connection import connect_file, explained
from lbadvisor.store.schema import require_file

Cell = str | int | float | bytes | None
READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
"""All that a query may do: it may not attach files, set pragmas or change anything."""
DESCRIBING = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"})
"""Pragmas that only describe the tables."""
INSTRUCTIONS_BETWEEN_SIGNALS = 1_000_000
"""In steps of SQLite's virtual machine: Ctrl-C stops an endless query within a few hundredths of a second."""

THE_QUERYS_FAULT = (None, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_TOOBIG)
"""SQLite's codes for errors that are not the file's fault; None if the driver itself found the error."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's rows and the names of their columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def query(path: Path, sql: str) -> Answer:
    """The result of one `SELECT` on the file `path`. Changes nothing: neither rows, nor settings, nor other files.

    Raises `UsageError` for SQL that is invalid, is not a single statement, or does more than read, and `StoreError` if
    the file cannot be read.
    """
    require_file(path)
    with explained(path), closing(connect_file(path)) as connection:
        connection.execute("PRAGMA query_only=ON")
        connection.set_authorizer(_authorize)
        # Python notices signals only while it runs: so it is called now and then, and an exception ends the query.
        connection.set_progress_handler(lambda: 0, INSTRUCTIONS_BETWEEN_SIGNALS)
        try:
            cursor = connection.execute(sql)
            rows = tuple(cursor.fetchall())
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise KeyboardInterrupt from error
            if getattr(error, "sqlite_errorcode", None) not in THE_QUERYS_FAULT:
                raise
            if "not authorized" in str(error):
                raise UsageError(f"--sql: a query may only read, with SELECT: {error}") from error
            raise UsageError(f"--sql: {error}; `lbadvisor db path` names the file, db/README.md its tables") from error
        except (sqlite3.Warning, ValueError) as error:
            raise UsageError(f"--sql: {error}") from error
    if cursor.description is None:
        raise UsageError("--sql: the query is empty: give a SELECT")
    return Answer(tuple(column[0] for column in cursor.description), rows)


def _authorize(action: int, subject: str | None, *_: object) -> int:
    # SQLite asks about a table-valued function, such as json_each, as if it changed the schema, which it does not.
    is_function = action == sqlite3.SQLITE_UPDATE and subject == "sqlite_master"
    is_description = action == sqlite3.SQLITE_PRAGMA and subject in DESCRIBING
    return sqlite3.SQLITE_OK if action in READING or is_function or is_description else sqlite3.SQLITE_DENY
