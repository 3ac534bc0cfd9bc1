"""The database of a program: the one it names, or the default one."""

from pathlib import Path
from typing import TYPE_CHECKING

from lbadvisor.store.address import DatabaseAddress, address_of

if TYPE_CHECKING:
    from lbadvisor.store import Store

__all__ = ["DatabaseAddress", "address_of", "database_file", "opened", "opened_to_train"]


def database_file(database: DatabaseAddress | str | None) -> Path | None:
    """Its file; None if it is on a server."""
    address = address_of(database)
    return address if isinstance(address, Path) else None


def opened(database: DatabaseAddress | str | None) -> "Store":
    """The store of a program that reads, or changes what is there. Raises `StoreError` if there is no database."""
    from lbadvisor.store import Store

    return Store.open(address_of(database), create=False)


def opened_to_train(database: DatabaseAddress | str | None) -> "Store":
    """The store of a program that trains: its first run makes what is missing. Raises `StoreError`."""
    from lbadvisor.store import Store

    return Store.at(address_of(database))
