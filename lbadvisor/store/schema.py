"""The schema of the database file: reads its revision; creates, upgrades and checks it.

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
from lbadvisor.store.sqlite import explained, for_writing, open_engine
from lbadvisor.store.tables import metadata
from lbadvisor.store.views import VIEWS

VERSION_TABLE = "lbadvisor_version"
"""Alembic's table for the revision; Optuna uses the default name, `alembic_version`."""

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")
"""Every revision in `migrations/versions`, oldest first; here, so that opening a database does not load Alembic."""

MIGRATIONS = "lbadvisor.store:migrations"
"""Where Alembic finds the revisions."""


def revision(path: Path) -> str | None:
    """The revision of the schema in the file `path`; None if it has no tables of this program.

    Raises `StoreError` if there is no such file or it cannot be read.
    """
    require_file(path)
    with _reading(path) as connection:
        return revision_of(connection)


def upgrade(path: Path) -> tuple[str, str]:
    """Upgrade the file `path` to the newest revision; returns the old and the new revision.

    Before a change, the file is copied to `backup_path(path, old)`, replacing an older copy. An up-to-date file is left
    alone. All or nothing: an error leaves the file unchanged. Raises `StoreError`.
    """
    require_file(path)
    newest = REVISIONS[-1]
    with _exclusively(path) as connection:
        old = revision_of(connection)
        if old is None or old not in REVISIONS:
            raise StoreError(wrong_revision(path, old))
        if old != newest:
            sqlite.copy_file(path, backup_path(path, old))
            _migrate(connection, path)
    return old, newest


def create(path: Path) -> None:
    """Create the file `path`, its folders and this program's tables, if they are missing.

    A file that has the tables, in any revision, is left alone, and so are other programs' tables. Several processes may
    do this at once. Raises `StoreError`.
    """
    refuse_folder(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _exclusively(path, create=True) as connection:
        found = revision_of(connection)
        if found is None:
            taken = sorted(metadata.tables.keys() & inspect(connection).get_table_names())
            if taken:
                raise StoreError(f"database {path}: another program has its {taken[0]} there: name another with --db")
            _migrate(connection, path)
    if found in (None, REVISIONS[-1]):
        with explained(path):
            sqlite.use_wal(path)


def check(path: Path) -> list[str]:
    """The faults inside the file `path`, one line each; empty if there are none.

    SQLite's own `integrity_check` and `foreign_key_check`. Raises `StoreError` if the file cannot be read at all.
    """
    require_file(path)
    with _reading(path) as connection:
        return sqlite.faults(connection)


def schema_sql() -> str:
    """The newest schema as SQL, the content of `db/schema.sql`."""
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


def backup_path(path: Path, old_revision: str) -> Path:
    """Where `upgrade` copies a file of `old_revision`: beside it, as `PATH.before-REVISION.bak`."""
    return path.with_name(f"{path.name}.before-{old_revision}.bak")


def require_file(path: Path) -> None:
    """Raise `StoreError` unless `path` is an existing file; creates nothing."""
    refuse_folder(path)
    with explained(path):
        if not path.exists():
            raise StoreError(f"no database at {path} yet: `lbadvisor train` creates it")


def refuse_folder(path: Path) -> None:
    """Raise `StoreError` if `path` is a folder."""
    with explained(path):
        if path.is_dir():
            raise StoreError(
                f"database {path}: it is a folder: name a file in it with --db, such as {path / 'lbadvisor.db'}"
            )


def revision_of(connection: Connection) -> str | None:
    """The revision of the connected file; None if it has no tables of this program."""
    if not sqlite.has_table(connection, VERSION_TABLE):
        return None
    found: str | None = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()
    return found


def require_newest(path: Path) -> None:
    """Raises `StoreError` unless the file `path` has the newest schema."""
    found = revision(path)
    if found != REVISIONS[-1]:
        raise StoreError(wrong_revision(path, found))


def wrong_revision(path: Path, found: str | None) -> str:
    """Why the file `path`, with the outdated revision `found`, cannot be used, and what to do."""
    if found is None:
        return f"database {path}: it has no runs of this program: name another file with --db"
    if found in REVISIONS:
        return (
            f"database {path}: it has the older schema {found}, but this program needs {REVISIONS[-1]}: "
            "run `lbadvisor db upgrade`, which keeps a copy"
        )
    return f"database {path}: it has the schema {found}, but this program knows {REVISIONS[-1]}: update the program"


@contextmanager
def _reading(path: Path) -> Iterator[Connection]:
    engine = open_engine(path)
    try:
        with explained(path), engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _exclusively(path: Path, *, create: bool = False) -> Iterator[Connection]:
    # Foreign keys are off, and checked at the end of the migration: see `open_engine`.
    engine = open_engine(path, create=create, foreign_keys=False)
    try:
        with explained(path), for_writing(engine).begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _migrate(connection: Connection, path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", MIGRATIONS)
    for view in reversed(VIEWS):
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {view}")
    command.upgrade(config, "head")
    for view, query in VIEWS.items():
        connection.exec_driver_sql(f"CREATE VIEW {view} AS{query}")
    dangling = sqlite.dangling(connection)
    if dangling:
        raise StoreError(f"database {path}: it was not upgraded because it is damaged: {dangling[0]}")


if __name__ == "__main__":
    sys.stdout.write(schema_sql())
