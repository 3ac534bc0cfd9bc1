"""Stores what training yields in one SQLite file; the only folder that uses SQLAlchemy and Alembic.

Names are loaded on first use, so importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lbadvisor.store.schema import backup_path, check, revision, schema_sql, upgrade
    from lbadvisor.store.store import Store, default_database_path

__all__ = ["Store", "backup_path", "check", "default_database_path", "revision", "schema_sql", "upgrade"]

_IN_STORE = frozenset({"Store", "default_database_path"})


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "lbadvisor.store.store" if name in _IN_STORE else "lbadvisor.store.schema"
    return getattr(import_module(module), name)
