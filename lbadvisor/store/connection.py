"""A connection to the database file: how it is opened, how transactions begin, and how errors are reported."""

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.exc import DBAPIError

from lbadvisor.errors import StoreError

LOCK_TIMEOUT_SECONDS = 30.0


def open_engine(
    path: Path,
    *,
    create: bool = False,
    foreign_keys: bool = True,
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
) -> Engine:
    """An engine for the file `path`; nothing is opened or created before its first connection.

    Only with `create` may SQLite create the file. A statement waits up to `lock_timeout_seconds` for other processes.
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
    event.listen(engine, "begin", begin)
    return engine


def connect_file(
    path: Path, *, create: bool = False, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS
) -> sqlite3.Connection:
    """SQLite's own connection to the file `path`, which it may create only with `create`.

    A file without write permission, or in a folder without it, can still be read; writing then fails with
    SQLITE_READONLY.
    """
    if create:
        return _connect(path, "mode=rwc", lock_timeout_seconds)
    if not path.exists() or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return _connect(path, "mode=rw", lock_timeout_seconds)
    connection = _connect_for_reading(path, lock_timeout_seconds)
    connection.execute("PRAGMA query_only=ON")
    return connection


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
    if log.exists() and index.exists():
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


def use_wal(path: Path) -> None:
    """Switch the file `path` to a write-ahead log, so that readers and the writer do not wait for each other.

    On a file system without shared memory the journal stays as it is.
    """
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
