"""The number of shares that a run's updates are cut into."""

import sqlalchemy as sa
from alembic import op

from lbadvisor.store.tables import WHOLE

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """From 0006 to 0007."""
    op.add_column("runs", sa.Column("shares", WHOLE))
    # Until now, each rank had one.
    op.execute("UPDATE runs SET shares = ranks")
