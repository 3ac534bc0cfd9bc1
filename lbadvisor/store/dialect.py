"""What each kind of database does in its own way: a module for each has these functions, and is chosen here alone."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

from sqlalchemy import Connection, Engine, Table

from lbadvisor.store import sqlite
from lbadvisor.store.address import DatabaseAddress, ServerAddress

Answered = tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]
"""The names of a query's columns, and its rows."""


class RunLock(Protocol):
    """A lock that a database holds for the process that trains a run, for as long as they are connected."""

    def acquire(self) -> None:
        """Raises `InTrainingError` if another process holds it."""

    def keep(self) -> None:
        """Make sure that it is held; if the connection was lost, acquire it anew. Raises `InTrainingError`."""

    def release(self) -> None:
        """Let other processes have it."""


class NamedLock(Protocol):
    """A lock that ends with its process, or its connection; a `with` block acquires it."""

    def acquire(self) -> object:
        """Raises `filelock.Timeout` if another process holds it for too long."""

    def release(self) -> None:
        """Let other processes have it."""

    def __enter__(self) -> object: ...

    def __exit__(self, *_: Any) -> None: ...


class Dialect(Protocol):
    """The functions of `sqlite` and `postgresql`; an address is that of their own kind."""

    def open_engine(
        self, address: Any, /, *, create: bool = ..., foreign_keys: bool = ..., lock_timeout_seconds: float = ...
    ) -> Engine:
        """An engine; nothing is opened before its first connection, and only with `create` is anything made."""

    def for_reading(self, engine: Engine, /) -> Engine:
        """The same engine, whose transactions read everything as of one moment."""

    def for_writing(self, engine: Engine, /) -> Engine:
        """The same engine, whose transactions wait for those that write in other processes, and see what they wrote."""

    def explained(self, address: Any, /) -> AbstractContextManager[None]:
        """While entered, errors of the database become a `StoreError`: one line with the address and what to do."""

    def is_there(self, address: Any, /) -> bool:
        """Whether there is anything to connect to."""

    def after_creation(self, address: Any, /) -> None:
        """What is left to do once the tables are made."""

    def backup_path(self, address: Any, old_revision: str, /) -> Path | None:
        """Where an upgrade keeps a copy; None if it keeps none."""

    def keep_copy(self, address: Any, old_revision: str, /) -> None:
        """Copy the database there."""

    def lock_of(self, address: Any, run_number: int, run: str, /) -> RunLock | None:
        """The database's own lock of the run, if it has any; it is not held yet."""

    def named_lock(self, address: Any, name: str, seconds: float, /) -> NamedLock:
        """A lock of that name, tried for so many seconds, without end if -1."""

    def is_locked(self, connection: Connection, run_number: int, /) -> bool:
        """Whether the database holds that lock for a process."""

    def has_table(self, connection: Connection, name: str, /) -> bool:
        """Whether there is a table of that name."""

    def faults(self, connection: Connection, /) -> list[str]:
        """What is wrong inside the database, one line each."""

    def dangling(self, connection: Connection, /) -> list[str]:
        """The rows that refer to a row that is not there, one line each."""

    def insert(self, table: Table, /) -> Any:
        """SQLAlchemy's insert of the dialect, which knows what to do on a conflict."""

    def last_number(self, connection: Connection, table: Table, /) -> int:
        """The last number that a row of the table got, also if it was deleted and no other will get it; 0 if none."""

    def continue_after(self, connection: Connection, table: Table, number: int, /) -> None:
        """Let the table, to which numbered rows were copied, number the next one as if `number` had been the last."""

    def json_field(self, column: str, field: str, kind: Literal["TEXT", "BIGINT", "DOUBLE PRECISION"], /) -> str:
        """SQL of a field, as `batch.size`, of a column that holds JSON."""

    def for_optuna(self, address: Any, /) -> tuple[str, dict[str, Any]]:
        """The URL and the keywords of SQLAlchemy's engine that Optuna makes."""

    def read_only_answer(self, address: Any, sql: str, /) -> Answered:
        """Columns and rows of one `SELECT`, which changes nothing. Raises `UsageError` for any other SQL."""


def dialect_of(where: DatabaseAddress | Connection) -> Dialect:
    """The one of an address, or of a connection."""
    if isinstance(where, ServerAddress) or (isinstance(where, Connection) and where.dialect.name == "postgresql"):
        from lbadvisor.store import postgresql

        return postgresql
    return sqlite
