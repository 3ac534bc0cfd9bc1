"""The number of processes that train a run together."""

import sqlalchemy as sa
from alembic import op

from lbadvisor.store.tables import WHOLE

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """From 0005 to 0006."""
    op.add_column("runs", sa.Column("ranks", WHOLE))
    # Until now, one process trained each run; those that did not note their threads may have been trained elsewhere.
    op.execute("UPDATE runs SET ranks = 1 WHERE threads IS NOT NULL")
