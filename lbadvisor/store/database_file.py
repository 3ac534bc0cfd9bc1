"""The database file: opened, made when it is first written, and connected to, for reading or for writing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine

from lbadvisor.store import schema
from lbadvisor.store.sqlite import LOCK_TIMEOUT_SECONDS, empty_engine, explained, for_writing, open_engine


def default_database_path() -> Path:
    """The default database: the environment's `LBADVISOR_DB`, else `db/lbadvisor.db` here."""
    return Path(os.environ.get("LBADVISOR_DB") or "db/lbadvisor.db")


class DatabaseFile:
    """The file `path`; each connection is one transaction. A process that is sent it connects anew."""

    def __init__(self, path: Path, engine: Engine, *, creates: bool) -> None:
        self.path = path
        self._engine, self._creates = engine, creates

    @classmethod
    def open(cls, path: Path, *, create: bool, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> Self:
        """The file; only with `create` is it made now, if it is missing. Raises `StoreError`."""
        file = cls(path, open_engine(path, lock_timeout_seconds=lock_timeout_seconds), creates=create)
        if create:
            file.make()
        else:
            schema.require_newest(path)
        return file

    @classmethod
    def at(cls, path: Path) -> Self:
        """The file, made when it is first written; until then it reads as empty. Raises `StoreError`."""
        file = cls(path, open_engine(path), creates=True)
        if file._is_made():
            schema.require_newest(path)
        return file

    def __reduce__(self) -> tuple[Any, ...]:
        return (DatabaseFile.at, (self.path,)) if self._creates else (_reopened, (self.path,))

    def make(self) -> None:
        """Make the file, its folders and tables now, if they are missing and this may."""
        if self._creates:
            schema.create(self.path)
            schema.require_newest(self.path)
            self._creates = False

    def close(self) -> None:
        """Close the file."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with explained(self.path), (self._engine if self._is_made() else empty_engine()).begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; other processes wait for it."""
        self.make()
        with explained(self.path), for_writing(self._engine).begin() as connection:
            yield connection

    def _is_made(self) -> bool:
        if not self._creates:
            return True
        schema.refuse_folder(self.path)
        # Another process may be making it at this moment.
        with explained(self.path):
            return self.path.exists() and schema.revision(self.path) is not None


def _reopened(path: Path) -> DatabaseFile:
    return DatabaseFile.open(path, create=False)
