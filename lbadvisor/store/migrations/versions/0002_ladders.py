"""Ladders; of a run, which guarantee it ran under and what was measured on the test set."""

import sqlalchemy as sa
from alembic import op

from lbadvisor.store.tables import WHOLE

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """From 0001 to 0002."""
    op.add_column("runs", sa.Column("guarantee", sa.Text))
    op.add_column("runs", sa.Column("test_loss", sa.Float))
    op.add_column("runs", sa.Column("test_accuracy_percent", sa.Float))
    op.create_table(
        "ladders",
        sa.Column("number", WHOLE, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("baseline", WHOLE, nullable=False),
        sa.Column("target_batch_size", WHOLE, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_ladders"),
        sa.UniqueConstraint("name", name="uq_ladders_name"),
        sa.ForeignKeyConstraint(["baseline"], ["recipes.number"], name="fk_ladders_baseline_recipes"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "ladder_runs",
        sa.Column("ladder", WHOLE, nullable=False),
        sa.Column("run", WHOLE, nullable=False),
        sa.Column("arm", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("ladder", "run", name="pk_ladder_runs"),
        sa.ForeignKeyConstraint(
            ["ladder"], ["ladders.number"], name="fk_ladder_runs_ladder_ladders", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run"], ["runs.number"], name="fk_ladder_runs_run_runs", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
