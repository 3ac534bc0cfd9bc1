"""PostgreSQL: how its server is connected to and shared, what its errors say, and its own SQL.

The functions are those of `sqlite`, for an address on a server. psycopg is an extra: nothing here loads it at once.
"""

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any

import filelock
from sqlalchemy import Connection, Engine, NullPool, Table, create_engine, event, inspect
from sqlalchemy.dialects.postgresql import insert as insert  # of the dialect: one of its functions
from sqlalchemy.exc import DBAPIError

from lbadvisor.errors import InTrainingError, NoAnswerError, StoreError, UsageError
from lbadvisor.store.address import ServerAddress
from lbadvisor.store.forks import refuse_inherited
from lbadvisor.store.run_folder import LOCK_SECONDS, error_of_training
from lbadvisor.store.sqlite import LOCK_TIMEOUT_SECONDS
from lbadvisor.store.tables import metadata

_WRITERS, _RUNS, _NAMES = 1_705_087_411, 1_705_087_412, 1_705_087_413
"""The program's own advisory locks in a database, where others may have theirs: of its writers, runs, and names."""


def open_engine(
    address: ServerAddress,
    *,
    create: bool = False,  # noqa: ARG001  # the database itself is made by `createdb`
    foreign_keys: bool = True,  # noqa: ARG001  # a migration changes a table in its place
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
) -> Engine:
    """An engine for the server's database; nothing is connected to before its first connection.

    A statement waits up to `lock_timeout_seconds` for other processes. Raises `UsageError` without psycopg.
    """
    engine = _engine(address)

    def set_up(connection: Any, _record: object) -> None:
        connection.adapters.register_dumper(float, _float_dumper())
        connection.autocommit = True
        connection.execute(f"SET lock_timeout = {round(1000 * lock_timeout_seconds)}")
        connection.autocommit = False

    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("lbadvisor_writes"):
            # A process that stalls in the middle loses its turn, before those that wait for theirs give up.
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '20s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS}, 0)")

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin)
    refuse_inherited(engine)
    return engine


def _engine(address: ServerAddress, **options: Any) -> Engine:
    try:
        return create_engine(address.url, connect_args=_connect_args(address), **options)
    except ImportError as error:
        raise UsageError(
            f"database {address}: psycopg is not installed ({error}): pip install 'lbadvisor[postgresql]'"
        ) from error


def _connect_args(address: ServerAddress) -> dict[str, Any]:
    # A server of another encoding converts; psycopg would give the texts of an SQL_ASCII one as bytes. One that
    # vanishes is missed within a minute: https://www.postgresql.org/docs/current/libpq-connect.html
    ours = {"client_encoding": "utf8", "connect_timeout": 10, "tcp_user_timeout": 60_000}
    ours |= {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
    return {name: value for name, value in ours.items() if name not in address.url.query}


def _float_dumper() -> type[Any]:
    from psycopg.types.numeric import FloatDumper

    class NanAsNull(FloatDumper):
        """Stores a nan as NULL, as SQLite does: PostgreSQL has one, larger than all numbers and equal to itself."""

        def dump(self, obj: float) -> Any:
            return None if obj != obj else super().dump(obj)

    return NanAsNull


def for_reading(engine: Engine) -> Engine:
    """The same engine, whose transactions only read, all as of their first statement."""
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def for_writing(engine: Engine) -> Engine:
    """The same engine, whose transactions acquire the writers' lock when they begin: one writes at a time.

    So what a transaction read is still so when it writes, as in SQLite.
    """
    return engine.execution_options(lbadvisor_writes=True)


@contextmanager
def explained(address: ServerAddress) -> Iterator[None]:
    """While entered, errors of PostgreSQL become a `StoreError`: one line with `address` and what to do.

    A `NoAnswerError` if there is no connection: who could connect before will be able to again.
    """
    try:
        yield
    except DBAPIError as error:
        kind = NoAnswerError if _is_unanswered(error.orig) else StoreError
        raise kind(_explanation(address, error.orig)) from error


def _is_unanswered(error: object) -> bool:
    # The connection was not made, was lost, or was ended: by an administrator, a crash, a server that starts (57P01 to
    # 57P05), or because it was idle within a transaction (25P03).
    code = getattr(error, "sqlstate", None)
    return type(error).__name__ == "OperationalError" if code is None else code.startswith(("08", "57P", "25P03"))


_EXPLANATIONS = {
    "25": "it cannot be written: it is read-only here",
    "42501": "the user may not do that: GRANT it the rights, or name another with --db",
    "53": "the server is out of disk space, memory or connections, so the last change was not stored: see to it, then "
    "repeat the command",
    "55": "it is locked by another process: wait for that one to finish, or stop it, then repeat the command",
    "57": "the server ended the connection or the statement: repeat the command once it is up",
    "58": "the server met an error of its system: see its log",
    "XX": "it is damaged: see the server's log, and restore a copy",
}
"""By a code, or the class with which it begins. https://www.postgresql.org/docs/current/errcodes-appendix.html"""

_LOGIN = "the server refused the login: check the user, and the password in PGPASSWORD or ~/.pgpass"
_REFUSALS = {
    'FATAL:  database "': "the server has no such database: make it with createdb, or name another with --db",
    "permission denied for database": "the user may not connect to it: GRANT CONNECT, or name another user in --db",
    'FATAL:  role "': _LOGIN,
    "password": _LOGIN,
    "authentication": _LOGIN,
    "pg_hba.conf": _LOGIN,
    "resolve host": "there is no such host: check its name in --db",
    "": "its server does not answer: check that it is up, and its host and port",
}
"""By a part of the text: an error of connecting has no code."""


_THE_SERVERS_FAULT = ("08", "53", "57", "58", "XX")


def _explanation(address: ServerAddress, error: object) -> str:
    code, told = getattr(error, "sqlstate", None) or "", _first_line(error)
    what = _EXPLANATIONS.get(code) or _EXPLANATIONS.get(code[:2], "PostgreSQL refused")
    if _is_unanswered(error):
        what = next(advice for part, advice in _REFUSALS.items() if part in told)
    return f"database {address}: {what} ({told})"


def _first_line(error: object) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def is_there(_address: ServerAddress) -> bool:
    """Yes: whether there is a database, its server says when it is connected to."""
    return True


def after_creation(address: ServerAddress) -> None:
    """Nothing."""


def backup_path(_address: ServerAddress, _old_revision: str) -> None:
    """None: `pg_dump` makes a copy."""


def keep_copy(address: ServerAddress, old_revision: str) -> None:
    """Nothing: an upgrade is one transaction."""


class SessionLock:
    """A lock of a session: it ends with the process or its connection, however that ends; `busy` if another has it."""

    def __init__(self, address: ServerAddress, key: str, seconds: float, busy: Exception) -> None:
        self._address, self._key, self._busy = address, key, busy
        self._timeout = 0 if seconds < 0 else max(1, round(1000 * seconds))  # in ms; 0 is none
        self._engine = _engine(address, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._connection: Connection | None = None

    def acquire(self) -> None:
        """Raises `busy`."""
        with explained(self._address):
            self._acquire()

    def _acquire(self) -> None:
        self._connection = connection = self._engine.connect()
        try:
            # The server notices within two minutes that a machine is gone, and at once that a process is.
            for name, value in (("idle", 60), ("interval", 10), ("count", 6)):
                connection.exec_driver_sql(f"SET tcp_keepalives_{name} = {value}")
            connection.exec_driver_sql(f"SET lock_timeout = {self._timeout}")
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({self._key})")
        except DBAPIError as error:
            self.release()
            if getattr(error.orig, "sqlstate", None) != "55P03":
                raise
            raise self._busy from None

    def keep(self) -> None:
        """Acquire it anew if the connection was lost. Raises `InTrainingError` if another process was faster."""
        try:
            if self._connection is not None:
                self._connection.exec_driver_sql("SELECT 1")
                return
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            self.release()
        try:
            self.acquire()
        except InTrainingError as error:
            raise InTrainingError(f"the connection that held the lock of the run was lost, and now {error}") from error

    def release(self) -> None:
        """Let other processes have it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # The server notices a little later that a connection is closed.
            if not connection.invalidated:
                with suppress(DBAPIError):
                    connection.exec_driver_sql(f"SELECT pg_advisory_unlock({self._key})")
            connection.close()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def lock_of(address: ServerAddress, run_number: int, run: str) -> SessionLock:
    """The run's lock, which holds wherever others have their checkpoints."""
    return SessionLock(address, f"{_RUNS}, {run_number}", LOCK_SECONDS, error_of_training(run))


def named_lock(address: ServerAddress, name: str, seconds: float) -> SessionLock:
    """A lock of that name, by a number of 32 bits."""
    number = zlib.crc32(name.encode()) - 2**31
    return SessionLock(address, f"{_NAMES}, {number}", seconds, filelock.Timeout(name))


def is_locked(connection: Connection, run_number: int) -> bool:
    """Whether a process holds the run's lock."""
    query = (
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        f"AND (classid, objid, objsubid) = ({_RUNS}, {run_number}, 2)"
    )
    return connection.exec_driver_sql(query).first() is not None


def has_table(connection: Connection, name: str) -> bool:
    """Whether there is a table of that name."""
    return inspect(connection).has_table(name)


def last_number(connection: Connection, table: Table) -> int:
    """The last number that the table's sequence gave."""
    return connection.exec_driver_sql(f"SELECT pg_sequence_last_value({_sequence(table)})").scalar() or 0


def continue_after(connection: Connection, table: Table, number: int) -> None:
    """Set the table's sequence, which does not notice rows that come with a number."""
    connection.exec_driver_sql(f"SELECT setval({_sequence(table)}, {number + 1}, false)")


def _sequence(table: Table) -> str:
    return f"pg_get_serial_sequence('{table.name}', '{table.primary_key.columns[0].name}')"


def faults(connection: Connection) -> list[str]:
    """What is wrong inside the database, one line each; of damage to its files the server itself must tell."""
    return dangling(connection)


def dangling(connection: Connection) -> list[str]:
    """The rows that refer to a row that is not there, one line each: the server can be told to let them in."""
    found = []
    for table in metadata.tables.keys() & inspect(connection).get_table_names():
        for key in inspect(connection).get_foreign_keys(table):
            (column,), parent, (number,) = key["constrained_columns"], key["referred_table"], key["referred_columns"]
            query = (
                f"SELECT count(*) FROM {table} AS child WHERE child.{column} IS NOT NULL "
                f"AND NOT EXISTS (SELECT 1 FROM {parent} WHERE {parent}.{number} = child.{column})"
            )
            rows = connection.exec_driver_sql(query).scalar() or 0
            found += [f"a row of {table} refers to a missing row of {parent}"] * rows
    return sorted(found)


def json_field(column: str, field: str, kind: str) -> str:
    """SQL of a field, as `batch.size`, of a column that holds JSON."""
    path = field.replace(".", ",")
    return f"CAST(CAST({column} AS json) #>> '{{{path}}}' AS {kind})"


def read_only_answer(address: ServerAddress, sql: str) -> tuple[tuple[str, ...], tuple[tuple[Any, ...], ...]]:
    """Columns and rows of one `SELECT`, in a transaction that only reads.

    Raises `UsageError` for SQL that is wrong, is not one statement, or would do more than read.
    """
    import psycopg

    engine = open_engine(address)
    try:
        # Rolled back in any case.
        with for_reading(engine).connect() as connection:
            driver: Any = connection.connection.driver_connection
            try:
                # A cursor of the server's, so that it refuses all but one query.
                with driver.cursor(name="answer") as cursor:
                    cursor.execute(sql)
                    names = tuple(column.name for column in cursor.description or ())
                    return names, tuple(tuple(map(_cell, row)) for row in cursor.fetchall())
            except psycopg.Error as error:
                if (error.sqlstate or "08")[:2] in _THE_SERVERS_FAULT:
                    raise StoreError(_explanation(address, error)) from error
                raise UsageError(
                    f"--sql: {_first_line(error)}: a query is one SELECT; db/README.md describes the tables"
                ) from error
    finally:
        engine.dispose()


def for_optuna(address: ServerAddress) -> tuple[str, dict[str, Any]]:
    """The URL and the keywords of SQLAlchemy's engine that Optuna makes."""
    return address.url.render_as_string(), {"connect_args": _connect_args(address)}


def _cell(value: Any) -> str | int | float | bytes | None:
    """The value as SQLite would have it."""
    if isinstance(value, bool):
        return int(value)
    if value is None or isinstance(value, str | int | float | bytes):
        return value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
