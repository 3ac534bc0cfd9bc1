"""How a run splits its sums: over how many CPU threads, and in which micro-batches."""

import sqlalchemy as sa
from alembic import op

from lbadvisor.store.tables import WHOLE

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """From 0002 to 0003."""
    op.add_column("runs", sa.Column("threads", WHOLE))
    op.add_column("runs", sa.Column("micro_size", WHOLE))
