"""The database of a program: the file it names, or the default one."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lbadvisor.store import Store


def database_path(database: Path | str | None) -> Path:
    """The file that is named, or the default one: LBADVISOR_DB, else db/lbadvisor.db here."""
    from lbadvisor.store import default_database_path

    return default_database_path() if database is None else Path(database)


def opened(database: Path | str | None) -> "Store":
    """The store of a program that reads, or changes what is there. Raises `StoreError` if there is no database."""
    from lbadvisor.store import Store

    return Store.open(database_path(database), create=False)


def opened_to_train(database: Path | str | None) -> "Store":
    """The store of a program that trains: its first run makes the file. Raises `StoreError`."""
    from lbadvisor.store import Store

    return Store.at(database_path(database))
