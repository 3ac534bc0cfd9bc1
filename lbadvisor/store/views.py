"""Views of the database, for people who read it with SQL or pandas; `db/README.md` explains them.

They hold no data: a migration drops them before its steps, because SQLite cannot recreate a table that a view uses, and
creates them again afterwards. A view that changes needs a new revision, even if that is empty.
"""

from lbadvisor.store.sqlite import json_field

VIEWS: dict[str, str] = {
    "run_summaries": f"""
SELECT runs.number, runs.name,
       coalesce({json_field("recipes.body", "adapted_from.recipe")}, recipes.name) AS recipe,
       {json_field("recipes.body", "batch.size")} AS batch_size,
       {json_field("recipes.body", "optimizer.lr")} AS lr,
       {json_field("recipes.body", "batch_norm.ghost_batch_size")} AS ghost_batch_size,
       {json_field("recipes.body", "adapted_from.parts")} AS adapted_parts,
       runs.seed, runs.status, runs."update", runs.updates,
       (SELECT evaluation_accuracy_percent FROM measurements
        WHERE run = runs.number AND evaluation_accuracy_percent IS NOT NULL ORDER BY "update" DESC LIMIT 1)
       AS final_accuracy_percent,
       (SELECT max(evaluation_accuracy_percent) FROM measurements WHERE run = runs.number)
       AS best_accuracy_percent,
       (SELECT max(seconds) FROM measurements WHERE run = runs.number) AS seconds,
       runs.test_accuracy_percent
FROM runs JOIN recipes ON recipes.number = runs.recipe""",
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
"""The query of each view; later ones may use earlier ones."""
