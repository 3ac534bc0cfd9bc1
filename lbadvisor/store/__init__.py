"""Stores what training yields in one database; the only folder that uses SQLAlchemy and Alembic.

Names are loaded on first use, so importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lbadvisor.store.address import address_of
    from lbadvisor.store.schema import backup_path, check, revision, schema_sql, upgrade
    from lbadvisor.store.store import Store

__all__ = ["Store", "address_of", "backup_path", "check", "revision", "schema_sql", "upgrade"]

_MODULES = {"Store": "store", "address_of": "address"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"lbadvisor.store.{_MODULES.get(name, 'schema')}"), name)
