"""The database: opened, made when it is first written, and connected to, for reading or for writing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from sqlalchemy import Connection, Engine

from lbadvisor.records.run import Run
from lbadvisor.store import schema
from lbadvisor.store.address import DatabaseAddress
from lbadvisor.store.dialect import RunLock, dialect_of
from lbadvisor.store.sqlite import LOCK_TIMEOUT_SECONDS, empty_engine


class OpenDatabase:
    """The database at `address`; each connection is one transaction. A process that is sent it connects anew."""

    def __init__(self, address: DatabaseAddress, engine: Engine, *, creates: bool) -> None:
        self.address = address
        self._dialect = dialect_of(address)
        self._engine, self._creates = engine, creates
        self._locks: list[RunLock] = []

    @classmethod
    def open(
        cls, address: DatabaseAddress, *, create: bool, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS
    ) -> Self:
        """The database; only with `create` is it made now, if it is missing. Raises `StoreError`."""
        engine = dialect_of(address).open_engine(address, lock_timeout_seconds=lock_timeout_seconds)
        database = cls(address, engine, creates=create)
        if create:
            database.make()
        else:
            schema.require_newest(address)
        return database

    @classmethod
    def at(cls, address: DatabaseAddress) -> Self:
        """The database, made when it is first written; until then it reads as empty. Raises `StoreError`."""
        database = cls(address, dialect_of(address).open_engine(address), creates=True)
        if database._is_made():
            schema.require_newest(address)
        return database

    def __reduce__(self) -> tuple[Any, ...]:
        return (OpenDatabase.at if self._creates else _reopened, (self.address,))

    def make(self) -> None:
        """Make the tables now, and a file and its folders, if they are missing and this may."""
        if self._creates:
            schema.create(self.address)
            schema.require_newest(self.address)
            self._creates = False

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        engine = self._dialect.for_reading(self._engine) if self._is_made() else empty_engine()
        with self._dialect.explained(self.address), engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; other processes wait for it. Raises `InTrainingError` if a run's lock is lost."""
        self.make()
        with self._dialect.explained(self.address):
            for lock in self._locks:
                lock.keep()
            with self._dialect.for_writing(self._engine).begin() as connection:
                yield connection

    @contextmanager
    def locked(self, run: Run) -> Iterator[None]:
        """While entered, the database's own lock of the run is held, if it has any. Raises `InTrainingError`."""
        with self._dialect.lock_of(self.address, run.number, run.name) as lock:
            held = [] if lock is None else [lock]
            self._locks += held
            try:
                yield
            finally:
                self._locks = [other for other in self._locks if other not in held]

    def _is_made(self) -> bool:
        if not self._creates:
            return True
        # Another process may be making it at this moment.
        with self._dialect.explained(self.address):
            return self._dialect.is_there(self.address) and schema.revision(self.address) is not None


def _reopened(address: DatabaseAddress) -> OpenDatabase:
    return OpenDatabase.open(address, create=False)
