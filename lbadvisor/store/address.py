"""Where a database is: a file, or one on a PostgreSQL server. Loads SQLAlchemy only to read a URL."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lbadvisor.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import URL

DEFAULT_FILE = "db/lbadvisor.db"
DRIVER = "postgresql+psycopg"


@dataclass(frozen=True, slots=True, repr=False)
class ServerAddress:
    """A database on a PostgreSQL server, by its URL, which has no password."""

    url: "URL"

    @property
    def name(self) -> str:
        """The database's name on its server."""
        return str(self.url.database)

    def __str__(self) -> str:
        return self.url.render_as_string()

    __repr__ = __str__


DatabaseAddress = Path | ServerAddress
"""The path of a file, or the address of a server's database; `str` of either is what to call it in messages."""


def address_of(database: DatabaseAddress | str | None) -> DatabaseAddress:
    """The database that is named, by a path or a URL; else the default: LBADVISOR_DB, else db/lbadvisor.db here.

    Raises `UsageError` for a URL that is none of PostgreSQL's.
    """
    named = (os.environ.get("LBADVISOR_DB") or DEFAULT_FILE) if database is None else database
    if not isinstance(named, str):
        return named
    return _server_address(named) if "://" in named else Path(named)


def _server_address(text: str) -> ServerAddress:
    # Before it is known to have no password, the text itself is not repeated in a message.
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    scheme, give = text.partition("://")[0], f"give a file, or {DRIVER}://USER@HOST/DATABASE"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise UsageError(f"the database URL {scheme}://... cannot be read: {give}") from None
    if url.password is not None or "@" in (url.host or "") or any("password" in key for key in url.query):
        raise UsageError(
            f"the database URL {scheme}://... has a password, which the shell's history and `ps` would show: leave it "
            "out, and give it in ~/.pgpass or PGPASSWORD"
        )
    address = ServerAddress(url)
    if url.get_backend_name() == "sqlite":
        raise UsageError(f"database {address}: for SQLite, name the file itself")
    if url.drivername != DRIVER:
        raise UsageError(f"database {address}: a URL begins with {DRIVER}://, not {url.drivername}://: {give}")
    if not url.database:
        raise UsageError(f"database {address}: the URL names no database: {give}")
    return address
