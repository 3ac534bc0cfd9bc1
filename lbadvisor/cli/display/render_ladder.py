"""A ladder's results: the paper's table with its uncertainty, as a table, a GitHub table, CSV and JSON."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from lbadvisor.cli.display.comma_separated import csv_text
from lbadvisor.cli.display.console import say
from lbadvisor.cli.display.group_rows import EVIDENCE_COLUMNS, diverged_runs, evidence_values, group_table
from lbadvisor.cli.display.json_body import json_of
from lbadvisor.cli.display.table import markdown, print_table
from lbadvisor.comparison.comparison import Comparison
from lbadvisor.planning.arms import foundation
from lbadvisor.planning.planned_arms import LadderRequest, changes
from lbadvisor.recipe.schedule import epochs_of
from lbadvisor.runs.ladder_runs import PlannedRun


def print_ladder(console: Console, comparison: Comparison) -> None:
    """The table, what may be concluded, and what there is to note."""
    print_table(console, group_table(comparison, "arm"))
    console.print()
    say(console, Text(comparison.gap.conclusion))
    for note in comparison.notes:
        say(console, f"[yellow]note[/yellow] {escape(note)}")


def ladder_markdown(comparison: Comparison) -> str:
    """The same as a GitHub table."""
    notes = (f"\n- {note}" for note in comparison.notes)
    return "\n".join([*markdown(group_table(comparison, "arm")), comparison.gap.conclusion, *notes])


def ladder_csv(comparison: Comparison) -> str:
    """One row per arm, in full precision; a value that is not known is empty."""
    rows: list[list[object]] = [
        ["arm", "runs", "diverged", "evaluated", "accuracy_percent_mean", "accuracy_percent_std", "pairs", "gap_points",
         "gap_points_low", "gap_points_high", "closed_percent", "closed_percent_low", "closed_percent_high",
         *EVIDENCE_COLUMNS]
    ]  # fmt: skip
    unknown = (None, None)
    for group, gap in zip(comparison.groups, comparison.gap.groups, strict=True):
        accuracy = group.accuracy
        spread = (0, None, None) if accuracy is None else (accuracy.n, accuracy.mean, accuracy.std)
        points = gap.points, *(gap.points_interval or unknown)
        closed = gap.closed_percent, *(gap.closed_interval or unknown)
        diverged = diverged_runs(comparison, group)
        rows.append(
            [group.label, len(group.runs), diverged, *spread, gap.pairs, *points, *closed, *evidence_values(gap)]
        )
    return csv_text(rows)


def ladder_json(request: LadderRequest, runs: Sequence[PlannedRun], comparison: Comparison | None) -> dict[str, Any]:
    """The ladder as the documented JSON object, but for its schema; `comparison` is null while there is none.

    `ladder`: `name`, `baseline` (a recipe), `target_batch_size`. `arms`: for each `name`, `label`, `upon`, `what`,
    `seeds`, what one of its runs costs (`updates`, `epochs`, `examples`; at most, if `by_distance`), and `changes`, a
    plan's adjustments next to the arm `upon`. `runs`, in the order of training: `arm`, `seed`, `name`, and `number`,
    `status`, `update`, each null if the run was not started. `comparison`: what `compare --json` has, without `schema`.
    """
    # As they are planned by now: one by distance awaited its distances when it was requested.
    planned = {one.arm.arm.name: one.arm for one in runs}
    names = list(planned)
    examples = request.baseline.data.train_examples
    arms = []
    for arm in planned.values():
        upon = foundation(arm.arm, names)
        lines = changes(arm.plan, None if upon is None else planned[upon.name].plan)
        arms.append(
            {
                "name": arm.arm.name,
                "label": arm.arm.label,
                "upon": None if upon is None else upon.name,
                "what": arm.arm.what,
                "seeds": arm.seeds,
                "updates": arm.updates,
                "epochs": epochs_of(arm.updates, examples, arm.recipe.batch.size),
                "examples": arm.examples,
                "by_distance": arm.is_by_distance,
                "changes": [json_of(line) for line in lines],
            }
        )
    return {
        "ladder": {
            "name": request.name,
            "baseline": request.baseline.model_dump(mode="json", exclude_none=True),
            "target_batch_size": request.target_batch_size,
        },
        "arms": arms,
        "runs": [_run_body(one) for one in runs],
        "comparison": None if comparison is None else json_of(comparison),
    }


def _run_body(planned: PlannedRun) -> dict[str, Any]:
    run = planned.run
    return {
        "arm": planned.arm.arm.name,
        "seed": planned.seed,
        "name": planned.name,
        "number": None if run is None else run.number,
        "status": None if run is None else run.status.value,
        "update": None if run is None else run.update,
    }
