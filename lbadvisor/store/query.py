"""A user's own question in SQL, which can read and nothing else."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from lbadvisor.errors import UsageError
from lbadvisor.store.connection import connect_file, explained
from lbadvisor.store.schema import require_file

Cell = str | int | float | bytes | None
READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
"""All that a query may do; attaching a file, a pragma that sets anything and every change are none of it."""
DESCRIBING = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"})
"""Pragmas that set nothing: what the tables hold."""
INSTRUCTIONS_BETWEEN_SIGNALS = 1_000_000
"""Of SQLite's virtual machine: a Ctrl-C ends a query that would go on for ever within some hundredths of a second."""

THE_QUERYS_FAULT = (None, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_TOOBIG)
"""SQLite's codes of an error that is not the file's; None where the driver itself found it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows that a query gives, under the names of their columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def query(path: Path, sql: str) -> Answer:
    """What one `SELECT` reads in the file `path`. Changes nothing: neither rows, nor settings, nor other files.

    Raises `UsageError` for SQL that is wrong, is not one statement, or would do more than read, and `StoreError` if the
    file cannot be read.
    """
    require_file(path)
    with explained(path), closing(connect_file(path)) as connection:
        connection.execute("PRAGMA query_only=ON")
        connection.set_authorizer(_authorize)
        # Python hears of a signal only while it runs: it is called at times, and what it raises ends the query.
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
        raise UsageError("--sql: there is no query in it: give a SELECT")
    return Answer(tuple(column[0] for column in cursor.description), rows)


def _authorize(action: int, subject: str | None, *_: object) -> int:
    # A table-valued function, such as json_each, is asked for as a change of the schema that SQLite does not make.
    is_function = action == sqlite3.SQLITE_UPDATE and subject == "sqlite_master"
    is_description = action == sqlite3.SQLITE_PRAGMA and subject in DESCRIBING
    return sqlite3.SQLITE_OK if action in READING or is_function or is_description else sqlite3.SQLITE_DENY
