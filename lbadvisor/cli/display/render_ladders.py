"""The stored ladders as tables and as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from lbadvisor.cli.display.json_body import json_of
from lbadvisor.cli.display.table import Heading, Table, print_facts, print_table
from lbadvisor.comparison.comparison import RunSummary
from lbadvisor.records.numerals import number_text
from lbadvisor.records.quantities import ACCURACY, SECONDS
from lbadvisor.records.run import Ladder, Run
from lbadvisor.runs.reuse import RESULTS

ArmRuns = Sequence[tuple[str, Run]]
"""(arm's name, run)."""


_LADDERS = (
    Heading("name", "name"),
    Heading("baseline", "name", rank=2),
    Heading("batch", "name"),
    Heading("arms", "prose", rank=1),
    Heading("runs"),
    Heading("done"),
    Heading("begun, UTC", "name", rank=3),
)
_RUNS = (
    Heading("arm", "name"),
    Heading("seed"),
    Heading("run"),
    Heading("name", "name"),
    Heading("status", "name"),
    Heading("update", rank=1),
    Heading("final %"),
    Heading("seconds", rank=2),
)


def ladders_table(ladders: Sequence[tuple[Ladder, ArmRuns]]) -> Table:
    """One row per ladder."""
    rows = tuple(
        (
            ladder.name,
            ladder.baseline.name,
            _batches(ladder),
            ", ".join(dict.fromkeys(arm for arm, _ in members)),
            f"{len(members):,}",
            f"{_done(members):,}",
            f"{ladder.created_at:%Y-%m-%d %H:%M}",
        )
        for ladder, members in ladders
    )
    return Table(_LADDERS, rows)


def print_ladder_runs(
    console: Console, ladder: Ladder, members: ArmRuns, summaries: Sequence[tuple[str, RunSummary]]
) -> None:
    """The ladder, and a row for each of its runs."""
    facts = {
        "ladder": f"{ladder.number}, {ladder.name}",
        "baseline": f"{ladder.baseline.name}: {ladder.baseline.model.name} on {ladder.baseline.data.name}",
        "batch": _batches(ladder),
        "runs": f"{len(members)}, {_done(members)} of them done",
        "begun": f"{ladder.created_at:%Y-%m-%d %H:%M:%S} UTC",
    }
    print_facts(console, facts)
    console.print()
    rows = tuple(
        (
            arm,
            str(run.seed),
            str(run.number),
            run.name,
            str(run.status),
            f"{run.update:,}/{run.updates:,}",
            number_text(run.final_accuracy_percent, ACCURACY.format),
            number_text(run.seconds, SECONDS.format),
        )
        for arm, run in summaries
    )
    print_table(console, Table(_RUNS, rows))


def ladder_body(ladder: Ladder, members: ArmRuns) -> dict[str, Any]:
    """The ladder as JSON: its record's fields, `arms` with the runs' numbers, and how many runs have their result."""
    body = json_of(ladder)
    arms: dict[str, list[int]] = {}
    for arm, run in members:
        arms.setdefault(arm, []).append(run.number)
    return body | {"arms": arms, "runs": len(members), "done": _done(members)}


def member_bodies(summaries: Sequence[tuple[str, RunSummary]]) -> list[dict[str, Any]]:
    """Each run's summary with its arm."""
    return [{"arm": arm} | json_of(run) for arm, run in summaries]


def _batches(ladder: Ladder) -> str:
    return f"{ladder.baseline.batch.size:,} -> {ladder.target_batch_size:,}"


def _done(members: ArmRuns) -> int:
    return sum(run.status in RESULTS for _, run in members)
