"""Views of the database, for people who read it with SQL or pandas; `db/README.md` explains them.

They hold no data: a migration drops them before its steps, because SQLite cannot recreate a table that a view uses, and
creates them again afterwards. A view that changes needs a new revision, even if that is empty.
"""

from functools import partial

from lbadvisor.store.dialect import Dialect

VIEWS = ("run_summaries", "curves", "reading_curves", "ladder_results")
"""In the order in which they are made: later ones may use earlier ones."""


def view_query(view: str, dialect: Dialect) -> str:
    """The query of a view."""
    return _QUERIES.get(view) or _run_summaries(dialect)


def _run_summaries(dialect: Dialect) -> str:
    field = partial(dialect.json_field, "recipes.body")
    return f"""
SELECT runs.number, runs.name,
       coalesce({field("adapted_from.recipe", "TEXT")}, recipes.name) AS recipe,
       {field("batch.size", "BIGINT")} AS batch_size,
       {field("optimizer.lr", "DOUBLE PRECISION")} AS lr,
       {field("batch_norm.ghost_batch_size", "BIGINT")} AS ghost_batch_size,
       {field("adapted_from.parts", "TEXT")} AS adapted_parts,
       runs.seed, runs.status, runs."update", runs.updates,
       (SELECT evaluation_accuracy_percent FROM measurements
        WHERE run = runs.number AND evaluation_accuracy_percent IS NOT NULL ORDER BY "update" DESC LIMIT 1)
       AS final_accuracy_percent,
       (SELECT max(evaluation_accuracy_percent) FROM measurements WHERE run = runs.number)
       AS best_accuracy_percent,
       (SELECT max(seconds) FROM measurements WHERE run = runs.number) AS seconds,
       runs.test_accuracy_percent
FROM runs JOIN recipes ON recipes.number = runs.recipe"""


_QUERIES = {
    "curves": """
SELECT runs.name, runs.seed, measurements.*
FROM measurements JOIN runs ON runs.number = measurements.run""",
    "reading_curves": """
SELECT runs.name, runs.seed, readings.*
FROM readings JOIN runs ON runs.number = readings.run""",
    "ladder_results": """
SELECT ladders.name AS ladder, ladder_runs.arm, run_summaries.*
FROM ladder_runs JOIN ladders ON ladders.number = ladder_runs.ladder
JOIN run_summaries ON run_summaries.number = ladder_runs.run""",
}
