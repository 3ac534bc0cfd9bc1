"""Runs as tables on stdout."""

from dataclasses import fields
from typing import Any

from rich.console import Console
from rich.text import Text

from lbadvisor.cli.display.measured import measured_text
from lbadvisor.cli.display.table import Heading, Table, print_facts, print_table
from lbadvisor.comparison.comparison import RunSummary
from lbadvisor.records.numerals import ABSENT, number_text
from lbadvisor.records.quantities import ACCURACY, BY_KEY, READINGS_BY_KEY, SECONDS
from lbadvisor.records.run import Measurement, Reading, Run

_RUNS = (
    Heading("run"),
    Heading("name", "name"),
    Heading("recipe", "name", rank=5),
    Heading("batch"),
    Heading("adapted", "name", rank=4),
    Heading("seed", rank=1),
    Heading("status", "name"),
    Heading("update"),
    Heading("final %"),
    Heading("best %", rank=2),
    Heading("seconds", rank=3),
    Heading("when, UTC", rank=6),
)


def runs_table(summaries: list[RunSummary]) -> Table:
    """One row per run."""
    rows = tuple(
        (
            str(run.number),
            run.name,
            run.recipe,
            f"{run.batch_size:,}",
            _parts_text(run),
            str(run.seed),
            str(run.status),
            f"{run.update:,}/{run.updates:,}",
            number_text(run.final_accuracy_percent, ACCURACY.format),
            number_text(run.best_accuracy_percent, ACCURACY.format),
            number_text(run.seconds, SECONDS.format),
            f"{run.changed_at:%Y-%m-%d %H:%M}",
        )
        for run in summaries
    )
    return Table(_RUNS, rows)


def _parts_text(run: RunSummary) -> str:
    if run.parts is None:
        return ABSENT
    return ", ".join(run.parts) or "none"


def print_run(
    console: Console,
    run: Run,
    summary: RunSummary,
    saved: str | None,
    shown: list[Measurement],
    of: int,
    readings: list[Reading],
) -> None:
    """All that is known of one run: what is `saved` of it, the `shown` ones `of` its measurements, its `readings`."""
    from lbadvisor.recipe.file import dump_recipe

    facts: dict[str, Any] = {
        "run": f"{run.number}, {run.name}",
        "status": run.status,
        "ended because": run.ended_because,
        "update": f"{run.update:,} of {run.at_most}{run.updates:,}",
        "saved": saved,
        "accuracy": number_text(summary.final_accuracy_percent, ACCURACY.format),
        "best accuracy": number_text(summary.best_accuracy_percent, ACCURACY.format),
        "test accuracy": number_text(run.test_accuracy_percent, ACCURACY.format),
        "training seconds": number_text(summary.seconds, SECONDS.format),
        "also measured": _readings_text(readings),
        "seed": run.seed,
        "adapted from": _origin_text(run),
        "plan": run.plan_number,
        "begun": f"{run.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "changed": f"{run.changed_at:%Y-%m-%d %H:%M:%S} UTC",
        "resumed": f"{run.resumes} times",
        "guarantee": run.guarantee,
        "device": f"{run.environment.device} ({run.environment.device_name})",
        "CPU threads": run.threads,
        "micro-batches": None if run.micro_size is None else f"{run.micro_size} examples",
        "ranks": run.ranks,
        "shares of an update": run.shares,
        "versions": f"lbadvisor {run.environment.lbadvisor_version}, torch {run.environment.torch_version}, "
        f"Python {run.environment.python_version}",
        "git": _git_text(run),
    }
    print_facts(console, facts)
    console.print(Text("\nRecipe", style="bold"))
    # A line of TOML is not wrapped: what is printed can be saved and read again.
    console.print(Text(dump_recipe(run.recipe)), soft_wrap=True)
    if shown:
        title = (
            "Measurements" if len(shown) == of else f"The last {len(shown)} of {of} measurements (--measurements: all)"
        )
        print_table(console, _measurements_table(shown), title)


def _readings_text(readings: list[Reading]) -> str | None:
    """Such as `layers at 41 updates (runs export --json has the values)`."""
    updates: dict[str, set[int]] = {}
    for one in readings:
        updates.setdefault(READINGS_BY_KEY[one.quantity].also or one.quantity, set()).add(one.update)
    counts = ", ".join(f"{also} at {len(at):,} updates" for also, at in updates.items())
    return f"{counts} (`runs export --json` has the values)" if counts else None


def _origin_text(run: Run) -> str | None:
    origin = run.recipe.adapted_from
    if origin is None:
        return None
    parts = ", ".join(origin.parts) or "none"
    return f"{origin.recipe} at batch size {origin.batch_size}; parts: {parts}; learning rate: {origin.lr_rule}"


def _git_text(run: Run) -> str | None:
    if run.environment.git_commit is None:
        return None
    return run.environment.git_commit + (" with uncommitted changes" if run.environment.git_dirty else "")


_SHOWN = tuple(q for field in fields(Measurement) if (q := BY_KEY[field.name]).rank is not None)


def _measurements_table(measurements: list[Measurement]) -> Table:
    columns = tuple(Heading(q.heading if q.axis is None else q.key, rank=q.rank or 0) for q in _SHOWN)
    return Table(columns, tuple(tuple(measured_text(q, m) for q in _SHOWN) for m in measurements))
