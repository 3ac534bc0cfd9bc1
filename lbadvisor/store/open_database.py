"""The database: opened, made when it is first written, and connected to, for reading or for writing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from sqlalchemy import Connection, Engine

from lbadvisor.records.run import Run
from lbadvisor.store import schema
from lbadvisor.store.address import DatabaseAddress
from lbadvisor.store.dialect import RunLock, dialect_of
from lbadvisor.store.outage import Outage
from lbadvisor.store.sqlite import LOCK_TIMEOUT_SECONDS, empty_engine


class OpenDatabase:
    """The database at `address`; each connection is one transaction. A process that is sent it connects anew."""

    def __init__(self, address: DatabaseAddress, engine: Engine, *, creates: bool) -> None:
        self.address, self.outage = address, Outage()
        self._dialect = dialect_of(address)
        self._engine, self._creates = engine, creates
        self._locks: dict[int, RunLock] = {}

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
        return _reopened, (self.address, self._creates)

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
        self.outage.ends()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; other processes wait for it. Raises `InTrainingError` if a run's lock is lost."""
        self.make()
        with self._dialect.explained(self.address):
            for lock in self._locks.values():
                lock.keep()
            with self._dialect.for_writing(self._engine).begin() as connection:
                yield connection
        self.outage.ends()

    def lock(self, run: Run) -> None:
        """Acquire the database's own lock of the run, if it has any. Raises `InTrainingError`."""
        lock = self._dialect.lock_of(self.address, run.number, run.name)
        if lock is not None:
            with self._dialect.explained(self.address):
                lock.acquire()
            self._locks[run.number] = lock

    def unlock(self, run: Run) -> None:
        """Release it."""
        lock = self._locks.pop(run.number, None)
        if lock is not None:
            lock.release()

    def _is_made(self) -> bool:
        if not self._creates:
            return True
        # Another process may be making it at this moment.
        with self._dialect.explained(self.address):
            return self._dialect.is_there(self.address) and schema.revision(self.address) is not None


def _reopened(address: DatabaseAddress, creates: bool) -> OpenDatabase:
    return OpenDatabase(address, dialect_of(address).open_engine(address), creates=creates)
