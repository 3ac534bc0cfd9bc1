"""Recipes, plans, runs and measurements."""

import sqlalchemy as sa
from alembic import op

from lbadvisor.store.tables import WHOLE

revision = "0001"
down_revision = None


# Longer than a function should be: the tables as they were, in one reading.
def upgrade() -> None:
    """From an empty database to 0001."""
    op.create_table(
        "recipes",
        sa.Column("number", WHOLE, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_recipes"),
        sa.UniqueConstraint("hash", name="uq_recipes_hash"),
    )
    op.create_table(
        "plans",
        sa.Column("number", WHOLE, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("baseline", WHOLE, nullable=False),
        sa.Column("adapted", WHOLE, nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_plans"),
        sa.UniqueConstraint("hash", name="uq_plans_hash"),
        sa.ForeignKeyConstraint(["baseline"], ["recipes.number"], name="fk_plans_baseline_recipes"),
        sa.ForeignKeyConstraint(["adapted"], ["recipes.number"], name="fk_plans_adapted_recipes"),
    )
    op.create_table(
        "runs",
        sa.Column("number", WHOLE, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("recipe", WHOLE, nullable=False),
        sa.Column("plan", WHOLE),
        sa.Column("seed", WHOLE, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("ended_because", sa.Text),
        sa.Column("update", WHOLE, nullable=False),
        sa.Column("updates", WHOLE, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("device_name", sa.Text, nullable=False),
        sa.Column("lbadvisor_version", sa.Text, nullable=False),
        sa.Column("python_version", sa.Text, nullable=False),
        sa.Column("torch_version", sa.Text, nullable=False),
        sa.Column("git_commit", sa.Text),
        sa.Column("git_dirty", sa.Boolean),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("changed_at", sa.DateTime, nullable=False),
        sa.Column("resumes", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_runs"),
        sa.UniqueConstraint("name", name="uq_runs_name"),
        sa.ForeignKeyConstraint(["recipe"], ["recipes.number"], name="fk_runs_recipe_recipes"),
        sa.ForeignKeyConstraint(["plan"], ["plans.number"], name="fk_runs_plan_plans"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "measurements",
        sa.Column("run", WHOLE, nullable=False),
        sa.Column("update", WHOLE, nullable=False),
        sa.Column("epoch", sa.Float, nullable=False),
        sa.Column("examples", WHOLE, nullable=False),
        sa.Column("loss", sa.Float),
        sa.Column("lr", sa.Float, nullable=False),
        sa.Column("gradient_norm", sa.Float),
        sa.Column("clipped_share", sa.Float),
        sa.Column("weight_distance", sa.Float),
        sa.Column("evaluation_loss", sa.Float),
        sa.Column("evaluation_accuracy_percent", sa.Float),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("run", "update", name="pk_measurements"),
        sa.ForeignKeyConstraint(["run"], ["runs.number"], name="fk_measurements_run_runs", ondelete="CASCADE"),
        sqlite_with_rowid=False,
    )
