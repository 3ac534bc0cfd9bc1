"""The schema of a database: reads its revision; creates, upgrades and checks it.

`python -m lbadvisor.store.schema > db/schema.sql` writes out the newest schema.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Connection, inspect

from lbadvisor.errors import StoreError
from lbadvisor.store import sqlite
from lbadvisor.store.address import DatabaseAddress
from lbadvisor.store.dialect import dialect_of
from lbadvisor.store.tables import metadata
from lbadvisor.store.views import VIEWS, view_query

VERSION_TABLE = "lbadvisor_version"
"""Alembic's table for the revision; Optuna uses the default name, `alembic_version`."""

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
"""Every revision in `migrations/versions`, oldest first; here, so that opening a database does not load Alembic."""

MIGRATIONS = "lbadvisor.store:migrations"
"""Where Alembic finds the revisions."""


def revision(database: DatabaseAddress) -> str | None:
    """The revision of the schema in the database; None if it has no tables of this program.

    Raises `StoreError` if there is no such file, or it cannot be read.
    """
    require(database)
    with _reading(database) as connection:
        return revision_of(connection)


def upgrade(database: DatabaseAddress) -> tuple[str, str]:
    """Upgrade the database to the newest revision; returns the old and the new revision.

    Before a change, a file is copied to `backup_path(database, old)`, replacing an older copy; of a server's database
    no copy is kept. If it is up to date, it is left alone. All or nothing: an error leaves it unchanged. Raises
    `StoreError`.
    """
    require(database)
    newest = REVISIONS[-1]
    with _exclusively(database) as connection:
        old = revision_of(connection)
        if old is None or old not in REVISIONS:
            raise StoreError(wrong_revision(database, old))
        if old != newest:
            dialect_of(database).keep_copy(database, old)
            _migrate(connection, database)
    return old, newest


def create(database: DatabaseAddress) -> None:
    """Create this program's tables, and a file and its folders, if they are missing.

    A database that has the tables, in any revision, is left alone, and so are other programs' tables. Several processes
    may do this at once. Raises `StoreError`.
    """
    with _exclusively(database, create=True) as connection:
        found = revision_of(connection)
        if found is None:
            taken = sorted(metadata.tables.keys() & inspect(connection).get_table_names())
            if taken:
                raise StoreError(
                    f"database {database}: another program has its {taken[0]} there: name another with --db"
                )
            _migrate(connection, database)
    if found in (None, REVISIONS[-1]):
        with dialect_of(database).explained(database):
            dialect_of(database).after_creation(database)


def check(database: DatabaseAddress) -> list[str]:
    """The faults inside the database, one line each; empty if there are none.

    Of a file, SQLite's own `integrity_check` and `foreign_key_check`; of a server's database, rows that refer to
    nothing. Raises `StoreError` if it cannot be read at all.
    """
    require(database)
    with _reading(database) as connection:
        return dialect_of(database).faults(connection)


def schema_sql() -> str:
    """The newest schema as SQL for SQLite, the content of `db/schema.sql`."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "schema.db"
        create(path)
        with _reading(path) as connection:
            statements = sqlite.definitions(connection)
    # SQLAlchemy ends some lines with a space.
    bodies = [
        "\n".join(line.rstrip() for line in sql.replace("\t", "    ").splitlines()).rstrip() for sql in statements
    ]
    head = f"-- Schema {REVISIONS[-1]}. Generated: python -m lbadvisor.store.schema > db/schema.sql\n"
    return head + "".join(f"\n{body};\n" for body in bodies)


def backup_path(database: DatabaseAddress, old_revision: str) -> Path | None:
    """Where `upgrade` copies a file of `old_revision`; None for a server's database."""
    return dialect_of(database).backup_path(database, old_revision)


def exists(database: DatabaseAddress) -> bool:
    """Whether there is such a file, or the server's database has tables of this program. Raises `StoreError`."""
    return database.exists() if isinstance(database, Path) else revision(database) is not None


def require(database: DatabaseAddress) -> None:
    """Raise `StoreError` if the database's file does not exist, or is a folder; creates nothing."""
    with dialect_of(database).explained(database):
        if not dialect_of(database).is_there(database):
            raise StoreError(f"no database at {database} yet: `lbadvisor train` creates it")


def revision_of(connection: Connection) -> str | None:
    """The revision of the connected database; None if it has no tables of this program."""
    if not dialect_of(connection).has_table(connection, VERSION_TABLE):
        return None
    found: str | None = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()
    return found


def require_newest(database: DatabaseAddress) -> None:
    """Raises `StoreError` unless the database has the newest schema."""
    found = revision(database)
    if found != REVISIONS[-1]:
        raise StoreError(wrong_revision(database, found))


def wrong_revision(database: DatabaseAddress, found: str | None) -> str:
    """Why the database, with the outdated revision `found`, cannot be used, and what to do."""
    if found is None:
        return (
            f"database {database}: it has no runs of this program: name another with --db; `lbadvisor train` makes "
            "the tables"
        )
    if found in REVISIONS:
        copy = ", which keeps a copy" if backup_path(database, found) else ", after a copy with pg_dump"
        return (
            f"database {database}: it has the older schema {found}, but this program needs {REVISIONS[-1]}: "
            f"run `lbadvisor db upgrade`{copy}"
        )
    return f"database {database}: it has the schema {found}, but this program knows {REVISIONS[-1]}: update the program"


@contextmanager
def _reading(database: DatabaseAddress) -> Iterator[Connection]:
    dialect = dialect_of(database)
    engine = dialect.open_engine(database)
    try:
        with dialect.explained(database), dialect.for_reading(engine).begin() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _exclusively(database: DatabaseAddress, *, create: bool = False) -> Iterator[Connection]:
    # Foreign keys are off, and checked at the end of the migration: see `sqlite.open_engine`.
    dialect = dialect_of(database)
    engine = dialect.open_engine(database, create=create, foreign_keys=False)
    try:
        with dialect.explained(database), dialect.for_writing(engine).begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _migrate(connection: Connection, database: DatabaseAddress) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", MIGRATIONS)
    for view in reversed(VIEWS):
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {view}")
    command.upgrade(config, "head")
    for view in VIEWS:
        connection.exec_driver_sql(f"CREATE VIEW {view} AS{view_query(view, dialect_of(database))}")
    dangling = dialect_of(database).dangling(connection)
    if dangling:
        raise StoreError(f"database {database}: it was not upgraded because it is damaged: {dangling[0]}")


if __name__ == "__main__":
    sys.stdout.write(schema_sql())
