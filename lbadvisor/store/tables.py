"""The tables of the database as the program sees them; `migrations/` creates and `db/README.md` explains them."""

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from lbadvisor.records.quantities import BY_KEY, UPDATE, Quantity
from lbadvisor.records.run import Measurement


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, stored as UTC without a zone, which SQLite does not support; in Python it always has the zone UTC."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The moment in UTC, without its zone."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The stored moment with its zone, UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


# Every constraint has a name: SQLite can change a constraint only by recreating its table, which needs the name.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

WHOLE = BigInteger().with_variant(Integer, "sqlite")
"""A whole number of 64 bits, as an INTEGER of SQLite's is."""

recipes = Table(
    "recipes",
    metadata,
    Column("number", WHOLE, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("hash"),
)

plans = Table(
    "plans",
    metadata,
    Column("number", WHOLE, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("baseline", ForeignKey("recipes.number"), nullable=False),
    Column("adapted", ForeignKey("recipes.number"), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("hash"),
)

runs = Table(
    "runs",
    metadata,
    Column("number", WHOLE, primary_key=True),
    Column("name", Text, nullable=False),
    Column("recipe", ForeignKey("recipes.number"), nullable=False),
    Column("plan", ForeignKey("plans.number")),
    Column("seed", WHOLE, nullable=False),
    Column("status", Text, nullable=False),
    Column("ended_because", Text),
    Column("update", WHOLE, nullable=False),
    Column("updates", WHOLE, nullable=False),
    Column("device", Text, nullable=False),
    Column("device_name", Text, nullable=False),
    Column("lbadvisor_version", Text, nullable=False),
    Column("python_version", Text, nullable=False),
    Column("torch_version", Text, nullable=False),
    Column("git_commit", Text),
    Column("git_dirty", Boolean),
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("resumes", WHOLE, nullable=False),
    Column("guarantee", Text),
    Column("test_loss", Float),
    Column("test_accuracy_percent", Float),
    Column("threads", WHOLE),
    Column("micro_size", WHOLE),
    Column("ranks", WHOLE),
    Column("shares", WHOLE),
    UniqueConstraint("name"),
    # The number of a deleted run is never reused: users may have written it down.
    sqlite_autoincrement=True,
)


def _measured(quantity: Quantity) -> Column[Any]:
    # A nan is stored as NULL; what a run recorded elsewhere lacks is NULL as well.
    return Column(
        quantity.key,
        WHOLE if quantity.whole else Float,
        nullable=not quantity.always_finite,
        primary_key=quantity is UPDATE,
    )


measurements = Table(
    "measurements",
    metadata,
    Column("run", ForeignKey("runs.number", ondelete="CASCADE"), primary_key=True),
    *(_measured(BY_KEY[field.name]) for field in fields(Measurement)),
    # Rows are stored in the order of the key, so a run's measurements are read in one sweep.
    sqlite_with_rowid=False,
)

# A run's rows of one quantity and part lie together, as they are read.
readings = Table(
    "readings",
    metadata,
    Column("run", ForeignKey("runs.number", ondelete="CASCADE"), primary_key=True),
    Column("quantity", Text, primary_key=True),
    Column("part", Text, primary_key=True),
    Column("update", WHOLE, primary_key=True),
    Column("value", Float),
    sqlite_with_rowid=False,
)

ladders = Table(
    "ladders",
    metadata,
    Column("number", WHOLE, primary_key=True),
    Column("name", Text, nullable=False),
    Column("baseline", ForeignKey("recipes.number"), nullable=False),
    Column("target_batch_size", WHOLE, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("name"),
    sqlite_autoincrement=True,
)

# A run may belong to several ladders: a trained run is reused, not trained again.
ladder_runs = Table(
    "ladder_runs",
    metadata,
    Column("ladder", ForeignKey("ladders.number", ondelete="CASCADE"), primary_key=True),
    Column("run", ForeignKey("runs.number", ondelete="CASCADE"), primary_key=True),
    Column("arm", Text, nullable=False),
    sqlite_with_rowid=False,
)
