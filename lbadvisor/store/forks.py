"""Connections that a forked process inherits: they are its parent's, and left alone."""

import os

from sqlalchemy import Engine, PoolProxiedConnection, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry


def refuse_inherited(engine: Engine) -> None:
    """Let a process that is forked from this one connect anew."""
    event.listen(engine, "checkout", _refuse_inherited)


_inherited: list[object] = []
"""To close them here would disturb the parent."""


def _refuse_inherited(_connection: object, record: ConnectionPoolEntry, fairy: PoolProxiedConnection) -> None:
    # No connection of SQLite's is carried across a fork: https://www.sqlite.org/howtocorrupt.html, 2.6. The pool makes
    # a new one.
    if record.info.setdefault("process", os.getpid()) != os.getpid():
        _inherited.append(record.dbapi_connection)
        record.dbapi_connection = fairy.dbapi_connection = None  # type: ignore[misc]
        raise DisconnectionError("a connection of the parent process")
