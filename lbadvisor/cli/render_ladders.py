"""The stored ladders as tables and as JSON."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbadvisor.advisor.comparison import RunSummary
from lbadvisor.advisor.records import Ladder, Run
from lbadvisor.cli.render_comparison import json_ready, number_text
from lbadvisor.reuse import RESULTS

Members = Sequence[tuple[str, Run]]
"""(arm's name, run)."""


def ladders_table(ladders: Sequence[tuple[Ladder, Members]]) -> Table:
    """One row per ladder."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for column in ("name", "baseline", "batch", "arms", "runs", "done"):
        table.add_column(column, justify="right" if column in ("runs", "done") else "left")
    table.add_column("begun, UTC", no_wrap=True)
    for ladder, members in ladders:
        table.add_row(
            Text(ladder.name),
            Text(ladder.baseline.name),
            _batches(ladder),
            ", ".join(dict.fromkeys(arm for arm, _ in members)),
            str(len(members)),
            str(_done(members)),
            f"{ladder.created_at:%Y-%m-%d %H:%M}",
        )
    return table


def print_ladder_runs(
    console: Console, ladder: Ladder, members: Members, summaries: Sequence[tuple[str, RunSummary]]
) -> None:
    """The ladder, and a row for each of its runs."""
    facts = {
        "ladder": f"{ladder.number}, {ladder.name}",
        "baseline": f"{ladder.baseline.name}: {ladder.baseline.model.name} on {ladder.baseline.data.name}",
        "batch": _batches(ladder),
        "runs": f"{len(members)}, {_done(members)} of them done",
        "begun": f"{ladder.created_at:%Y-%m-%d %H:%M:%S} UTC",
    }
    head = Table(box=None, show_header=False)
    head.add_column(style="bold")
    for name, fact in facts.items():
        head.add_row(name, Text(fact))
    console.print(head)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for column in ("arm", "seed", "run", "name", "status", "update", "final %", "seconds"):
        table.add_column(column, justify="left" if column in ("arm", "name", "status") else "right", no_wrap=True)
    for arm, run in summaries:
        table.add_row(
            arm,
            str(run.seed),
            str(run.number),
            Text(run.name),
            str(run.status),
            f"{run.update}/{run.updates}",
            number_text("final_accuracy_percent", run.final_accuracy_percent),
            number_text("seconds", run.seconds),
        )
    console.print(table)


def ladder_body(ladder: Ladder, members: Members) -> dict[str, Any]:
    """The ladder as JSON: its record's fields, `arms` with the runs' numbers, and how many runs have their result."""
    body = dataclasses.asdict(ladder, dict_factory=json_ready)
    arms: dict[str, list[int]] = {}
    for arm, run in members:
        arms.setdefault(arm, []).append(run.number)
    return body | {"arms": arms, "runs": len(members), "done": _done(members)}


def member_bodies(summaries: Sequence[tuple[str, RunSummary]]) -> list[dict[str, Any]]:
    """Each run's summary with its arm."""
    return [{"arm": arm} | dataclasses.asdict(run, dict_factory=json_ready) for arm, run in summaries]


def _batches(ladder: Ladder) -> str:
    return f"{ladder.baseline.batch.size} -> {ladder.target_batch_size}"


def _done(members: Members) -> int:
    return sum(run.status in RESULTS for _, run in members)
