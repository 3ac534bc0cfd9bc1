"""SQLite: how its file is opened and shared, how its transactions begin, what its errors say, and its own SQL.

All that another database would do otherwise is here; the rest of the store is SQL that any of them knows.
"""

import functools
import logging
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import filelock
from sqlalchemy import (
    Connection,
    Engine,
    QueuePool,
    StaticPool,
    Table,
    create_engine,
    event,
)
from sqlalchemy.dialects.sqlite import insert as insert  # of the dialect: one of its functions
from sqlalchemy.exc import DBAPIError

from lbadvisor.errors import StoreError, UsageError
from lbadvisor.store.forks import refuse_inherited
from lbadvisor.store.network_files import network_file_system
from lbadvisor.store.run_folder import checkpoints_of
from lbadvisor.store.tables import metadata

LOCK_TIMEOUT_SECONDS = 30.0

_logger = logging.getLogger(__name__)
_ON_NETWORK = (
    "database %s: it lies on a network file system (%s), where it has no write-ahead log, because that needs shared "
    "memory (https://www.sqlite.org/wal.html), and where locks may fail (https://www.sqlite.org/faq.html#q5): let one "
    "machine at a time use it, or name with --db a file on a local disk, or for several machines a PostgreSQL server"
)


def open_engine(
    path: Path, *, create: bool = False, foreign_keys: bool = True, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS
) -> Engine:
    """An engine for the file `path`; nothing is opened or created before its first connection.

    Only with `create` may SQLite create the file. A statement waits up to `lock_timeout_seconds` for other processes.
    A migration wants no `foreign_keys`: to change a table SQLite makes it anew and drops the old one, which must not
    take the referring rows along. https://www.sqlite.org/lang_altertable.html
    """

    def connect() -> sqlite3.Connection:
        return connect_file(path, create=create, lock_timeout_seconds=lock_timeout_seconds)

    def set_up(connection: sqlite3.Connection, _record: object) -> None:
        # The journal mode is not set here, because it is stored in the file: reading another's file would change it.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")

    def begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)
    event.listen(engine, "connect", set_up)
    refuse_inherited(engine)
    event.listen(engine, "begin", begin)
    return engine


@functools.cache
def empty_engine() -> Engine:
    """A database in memory with this program's tables and no rows: what a file that is not made yet reads as."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    metadata.create_all(engine)
    return engine


def connect_file(
    path: Path, *, create: bool = False, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS
) -> sqlite3.Connection:
    """SQLite's own connection to the file `path`, which it may create only with `create`.

    A file without write permission, or in a folder without it, can still be read; writing then fails with
    SQLITE_READONLY.
    """
    if create:
        refuse_folder(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return _connect(path, "mode=rwc", lock_timeout_seconds)
    if not path.exists() or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        if path.exists() and network_file_system(path) is not None:
            _drop_log(path, lock_timeout_seconds)
        return _connect(path, "mode=rw", lock_timeout_seconds)
    connection = _connect_for_reading(path, lock_timeout_seconds)
    connection.execute("PRAGMA query_only=ON")
    return connection


def _drop_log(path: Path, lock_timeout_seconds: float) -> None:
    """If the file has a write-ahead log, go on without one. Fails while another process uses the log."""
    with closing(_connect(path, "mode=rw", lock_timeout_seconds)) as connection:
        # Alone, SQLite needs no shared memory for the log: https://www.sqlite.org/wal.html#noshm. Only SQLite may look
        # into the file: if a process opens and closes it, it loses SQLite's locks (sqlite.org/howtocorrupt.html, 2.2).
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=DELETE")


def _connect(path: Path, options: str, lock_timeout_seconds: float) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?{options}"
    # The driver begins no transactions of its own (isolation_level None): they would be deferred, and only begin before
    # rows change. `timeout` is SQLite's busy_timeout. A pooled connection may move from thread to thread, one at a
    # time.
    return sqlite3.connect(uri, uri=True, timeout=lock_timeout_seconds, isolation_level=None, check_same_thread=False)


def _connect_for_reading(path: Path, lock_timeout_seconds: float) -> sqlite3.Connection:
    """A connection that needs no write permission, and also sees what is not yet in the file `path` itself.

    https://www.sqlite.org/wal.html#read_only_databases
    """
    log, index, journal = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-journal"))
    if log.exists() and index.exists() and network_file_system(path) is None:
        # Used or left behind by a writer: SQLite reads both as they are.
        return _connect(path, "mode=ro", lock_timeout_seconds)
    left = [file for file in (log, journal) if file.exists() and file.stat().st_size]
    if not left:
        # Nobody is writing: a writer in WAL mode would have both files, and the permission missing here.
        return _connect(path, "mode=ro&immutable=1", lock_timeout_seconds)
    # SQLite would have to write an index, or roll back: it does so in a copy, which is then read into memory.
    with tempfile.TemporaryDirectory(prefix="lbadvisor-") as folder:
        for file in (path, *left):
            shutil.copyfile(file, Path(folder) / file.name)
        memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        with closing(_connect(Path(folder) / path.name, "mode=rw", lock_timeout_seconds)) as copy:
            copy.backup(memory)
    return memory


def refuse_folder(path: Path) -> None:
    """Raise `StoreError` if `path` is a folder."""
    if path.is_dir():
        raise StoreError(
            f"database {path}: it is a folder: name a file in it with --db, such as {path / 'lbadvisor.db'}"
        )


def is_there(path: Path) -> bool:
    """Whether there is such a file. Raises `StoreError` for a folder."""
    refuse_folder(path)
    return path.exists()


def after_creation(path: Path) -> None:
    """Switch the file `path` to a write-ahead log, so that readers and the writer do not wait for each other.

    On a file system without shared memory the journal stays as it is, and on one of the network too.
    """
    kind = network_file_system(path)
    if kind is not None:
        _logger.warning(_ON_NETWORK, path, kind)
        return
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    with closing(connect_file(path)) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                # If two processes change the mode at the same moment, SQLite does not wait for the busy_timeout.
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


def for_reading(engine: Engine) -> Engine:
    """The same engine: a transaction reads as of its first statement."""
    return engine


def for_writing(engine: Engine) -> Engine:
    """The same engine, whose transactions acquire the write lock when they begin.

    A transaction that reads first and requests the lock later fails at once if another process wrote in between,
    however long the timeout: `database is locked`.
    """
    return engine.execution_options(sqlite_begin="IMMEDIATE")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """While entered, errors of SQLite or the file system become a `StoreError`: one line with `path` and what to do."""
    try:
        yield
    except DBAPIError as error:
        raise StoreError(_explanation(path, error.orig)) from error
    except sqlite3.Error as error:
        raise StoreError(_explanation(path, error)) from error
    except OSError as error:
        raise StoreError(f"database {path}: {_CANNOT_OPEN} ({error.strerror})") from error


_CANNOT_OPEN = "it cannot be opened: check that you can read and write the file and its folder"
_EXPLANATIONS = {
    "SQLITE_BUSY": "it is locked by another process: wait for that one to finish, or stop it, then repeat the command",
    "SQLITE_FULL": "the disk is full, so the last change was not stored: free disk space, then repeat the command",
    "SQLITE_NOTADB": "it is not a SQLite database: name another file with --db, or move this one away",
    "SQLITE_CORRUPT": "it is damaged: restore a copy, or move it away",
    "SQLITE_READONLY": "it cannot be written: get write permission for it and its folder, or name another with --db",
    "SQLITE_CANTOPEN": _CANNOT_OPEN,
    "SQLITE_PERM": _CANNOT_OPEN,
    "SQLITE_IOERR": "the disk reported an error: check its health and free space, then repeat the command",
}


def _explanation(path: Path, error: object) -> str:
    # An extended code starts with its primary one: SQLITE_BUSY_SNAPSHOT, SQLITE_READONLY_DIRECTORY.
    code: str = getattr(error, "sqlite_errorname", "")
    primary = "_".join(code.split("_")[:2])
    return f"database {path}: {_EXPLANATIONS.get(primary, 'SQLite refused')} ({error})"


def json_field(column: str, field: str, _kind: str) -> str:
    """SQL of a field, as `batch.size`, of a column that holds JSON, of the kind that it has there."""
    return f"json_extract({column}, '$.{field}')"


def has_table(connection: Connection, name: str) -> bool:
    """Whether there is a table of that name."""
    named = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return connection.exec_driver_sql(named, (name,)).first() is not None


def last_number(connection: Connection, table: Table) -> int:
    """The last number that a row of the table got; one that was deleted counts if the table never reuses numbers."""
    given = "SELECT seq AS number FROM sqlite_sequence WHERE name = ?"
    query = f"SELECT max(number) FROM ({given} UNION SELECT max(rowid) FROM {table.name})"
    return connection.exec_driver_sql(query, (table.name,)).scalar() or 0


def continue_after(connection: Connection, table: Table, number: int) -> None:
    """Let a table that never reuses numbers continue after `number`."""
    if table.dialect_options["sqlite"]["autoincrement"]:
        connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table.name,))
        connection.exec_driver_sql("INSERT INTO sqlite_sequence VALUES (?, ?)", (table.name, number))


def definitions(connection: Connection) -> list[str]:
    """The SQL of all tables, indexes and views, in the order in which they were made."""
    query = (
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY rowid"
    )
    return list(connection.exec_driver_sql(query).scalars())


def faults(connection: Connection) -> list[str]:
    """What is wrong inside the file, one line each."""
    lines = connection.exec_driver_sql("PRAGMA integrity_check").scalars()
    return [str(line) for line in lines if line != "ok"] + dangling(connection)


def dangling(connection: Connection) -> list[str]:
    """The rows that refer to a row that is not there, one line each."""
    rows = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    return [f"a row of {table} refers to a missing row of {parent}" for table, _, parent, _ in rows]


def backup_path(path: Path, old_revision: str) -> Path:
    """Where the copy of a file of `old_revision` is kept: beside it, as `PATH.before-REVISION.bak`."""
    return path.with_name(f"{path.name}.before-{old_revision}.bak")


def keep_copy(path: Path, old_revision: str) -> None:
    """Copy the file there, whole or not at all, whoever writes to it meanwhile; an older copy is replaced."""
    target = backup_path(path, old_revision)
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    with closing(connect_file(path)) as source, closing(connect_file(part, create=True)) as copy:
        source.backup(copy)
    part.replace(target)


def lock_of(_path: Path, _run_number: int, _run: str) -> None:
    """None: whoever shares the file shares the folder of the run's checkpoints, and the lock there."""


def named_lock(path: Path, name: str, seconds: float) -> filelock.BaseFileLock:
    """A lock beside the checkpoints, whose folder is made."""
    file = checkpoints_of(path) / f"{name}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(file, seconds)


def is_locked(_connection: Connection, _run_number: int) -> bool:
    """No: see `lock_of`."""
    return False


_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
"""All that a query may do: it may not attach files, set pragmas or change anything."""
_DESCRIBING = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"})
"""Pragmas that only describe the tables."""
INSTRUCTIONS_BETWEEN_SIGNALS = 1_000_000
"""In steps of SQLite's virtual machine: Ctrl-C stops an endless query within a few hundredths of a second."""
_THE_QUERYS_FAULT = (None, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_TOOBIG)
"""Codes of an error that is not the file's; None if the driver itself found it."""


def read_only_answer(path: Path, sql: str) -> tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]:
    """Columns and rows of one `SELECT`. Changes nothing: neither rows, nor settings, nor other files.

    Raises `UsageError` for SQL that is wrong, is not one statement, or would do more than read.
    """
    with closing(connect_file(path)) as connection:
        connection.execute("PRAGMA query_only=ON")
        connection.set_authorizer(_authorize)
        # Python notices signals only while it runs: so it is called now and then, and an exception ends the query.
        connection.set_progress_handler(lambda: 0, INSTRUCTIONS_BETWEEN_SIGNALS)
        try:
            cursor = connection.execute(sql)
            rows = tuple(cursor.fetchall())
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code == sqlite3.SQLITE_INTERRUPT:
                raise KeyboardInterrupt from error
            if code not in _THE_QUERYS_FAULT:
                raise
            if "not authorized" in str(error):
                raise UsageError(f"--sql: a query may only read, with SELECT: {error}") from error
            raise UsageError(f"--sql: {error}; `lbadvisor db path` names the file, db/README.md its tables") from error
        except (sqlite3.Warning, ValueError) as error:
            raise UsageError(f"--sql: {error}") from error
    if cursor.description is None:
        raise UsageError("--sql: the query is empty: give a SELECT")
    return tuple(column[0] for column in cursor.description), rows


def _authorize(action: int, subject: str | None, *_: object) -> int:
    # SQLite asks about a table-valued function, such as json_each, as if it changed the schema, which it does not.
    is_function = action == sqlite3.SQLITE_UPDATE and subject == "sqlite_master"
    is_description = action == sqlite3.SQLITE_PRAGMA and subject in _DESCRIBING
    return sqlite3.SQLITE_OK if action in _READING or is_function or is_description else sqlite3.SQLITE_DENY


def for_optuna(path: Path) -> tuple[str, dict[str, Any]]:
    """The URL and the keywords of SQLAlchemy's engine that Optuna makes."""
    return "sqlite://", {"creator": lambda: _connect_for_optuna(path)}


def _connect_for_optuna(path: Path) -> sqlite3.Connection:
    """As the program's own, but with the driver's own transactions, which Optuna counts on.

    They begin before the first change of rows, so that none reads first and is turned away when it wants to write.
    """
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=LOCK_TIMEOUT_SECONDS, check_same_thread=False)
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection
