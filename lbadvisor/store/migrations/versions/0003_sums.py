"""How a run splits its sums: over how many CPU threads, and in which micro-batches."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """From 0002 to 0003."""
    op.add_column("runs", sa.Column("threads", sa.Integer))
    op.add_column("runs", sa.Column("micro_size", sa.Integer))
