"""SQL of a test's own in a database of either kind, past the program."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from lbadvisor.store.address import DatabaseAddress


def raw_sql(database: DatabaseAddress, statement: str) -> list[tuple[Any, ...]]:
    """The rows that the statement returns; what it changes is committed."""
    if isinstance(database, Path):
        with closing(sqlite3.connect(database)) as connection, connection:
            return connection.execute(statement).fetchall()
    import psycopg

    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []
