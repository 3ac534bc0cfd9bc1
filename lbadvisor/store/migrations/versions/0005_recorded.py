"""Runs recorded elsewhere: they may lack the epoch, learning rate and seconds of a measurement."""

import sqlalchemy as sa
from alembic import op

from lbadvisor.store.tables import WHOLE

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """From 0004 to 0005."""
    if op.get_bind().dialect.name == "postgresql":
        for column in ("epoch", "lr", "seconds"):
            op.alter_column("measurements", column, nullable=True)
        return
    # SQLite changes a column only by making the table anew.
    op.rename_table("measurements", "measurements_0004")
    op.create_table(
        "measurements",
        sa.Column("run", WHOLE, nullable=False),
        sa.Column("update", WHOLE, nullable=False),
        sa.Column("epoch", sa.Float),
        sa.Column("examples", WHOLE, nullable=False),
        sa.Column("loss", sa.Float),
        sa.Column("lr", sa.Float),
        sa.Column("gradient_norm", sa.Float),
        sa.Column("clipped_share", sa.Float),
        sa.Column("weight_distance", sa.Float),
        sa.Column("evaluation_loss", sa.Float),
        sa.Column("evaluation_accuracy_percent", sa.Float),
        sa.Column("seconds", sa.Float),
        sa.PrimaryKeyConstraint("run", "update", name="pk_measurements"),
        sa.ForeignKeyConstraint(["run"], ["runs.number"], name="fk_measurements_run_runs", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
    op.execute("INSERT INTO measurements SELECT * FROM measurements_0004")
    op.drop_table("measurements_0004")
