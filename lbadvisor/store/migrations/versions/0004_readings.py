"""Readings: of what is measured in a run only if its recipe asks for it."""

import sqlalchemy as sa
from alembic import op

from lbadvisor.store.tables import WHOLE

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """From 0003 to 0004."""
    op.create_table(
        "readings",
        sa.Column("run", WHOLE, nullable=False),
        sa.Column("quantity", sa.Text, nullable=False),
        sa.Column("part", sa.Text, nullable=False),
        sa.Column("update", WHOLE, nullable=False),
        sa.Column("value", sa.Float),
        sa.PrimaryKeyConstraint("run", "quantity", "part", "update", name="pk_readings"),
        sa.ForeignKeyConstraint(["run"], ["runs.number"], name="fk_readings_run_runs", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
