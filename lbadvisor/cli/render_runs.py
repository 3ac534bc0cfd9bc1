"""Runs as tables on stdout."""

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbadvisor.advisor.comparison import RunSummary
from lbadvisor.advisor.records import Measurement, Run
from lbadvisor.advisor.results import result_of, summary_of
from lbadvisor.cli.render_comparison import ABSENT, number_text

_COLUMNS = (
    *("run", "name", "recipe", "batch", "adapted", "seed", "status", "update"),
    *("final %", "best %", "seconds"),
)


def runs_table(summaries: list[RunSummary]) -> Table:
    """One row per run."""
    # Twelve columns shall fit a terminal of 80: one space between them, only words wrapped, no year.
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    for column in _COLUMNS:
        words = column in ("name", "recipe", "adapted")
        left = words or column == "status"
        table.add_column(column, justify="left" if left else "right", no_wrap=not words, overflow="fold")
    table.add_column("when, UTC", no_wrap=True)
    for run in summaries:
        table.add_row(
            str(run.number),
            Text(run.name),
            Text(run.recipe),
            str(run.batch_size),
            _parts_text(run),
            str(run.seed),
            str(run.status),
            f"{run.update}/{run.updates}",
            number_text("final_accuracy_percent", run.final_accuracy_percent),
            number_text("best_accuracy_percent", run.best_accuracy_percent),
            number_text("seconds", run.seconds),
            f"{run.changed_at:%m-%d %H:%M}",
        )
    return table


def _parts_text(run: RunSummary) -> str:
    if run.parts is None:
        return ABSENT
    return ", ".join(run.parts) or "none"


def print_run(console: Console, run: Run, measured: list[Measurement], shown: list[Measurement]) -> None:
    """All that is known of one run, with those of its measurements that are `shown`."""
    from lbadvisor.advisor.recipe_file import dump_recipe

    summary = summary_of(result_of(run, measured))
    facts: dict[str, Any] = {
        "run": f"{run.number}, {run.name}",
        "status": run.status,
        "ended because": run.ended_because,
        "update": f"{run.update} of {run.updates}",
        "accuracy": number_text("final_accuracy_percent", summary.final_accuracy_percent),
        "best accuracy": number_text("best_accuracy_percent", summary.best_accuracy_percent),
        "test accuracy": number_text("test_accuracy_percent", run.test_accuracy_percent),
        "training seconds": number_text("seconds", summary.seconds),
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
        "versions": f"lbadvisor {run.environment.lbadvisor_version}, torch {run.environment.torch_version}, "
        f"Python {run.environment.python_version}",
        "git": _git_text(run),
    }
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, fact in facts.items():
        table.add_row(name, Text(ABSENT if fact is None else str(fact)))
    console.print(table)
    console.print(Text("\nRecipe", style="bold"))
    # A line of TOML is not wrapped: what is printed can be saved and read again.
    console.print(Text(dump_recipe(run.recipe)), soft_wrap=True)
    if shown:
        console.print(_measurements_table(shown, len(measured)))


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


def _measurements_table(shown: list[Measurement], of: int) -> Table:
    title = "Measurements" if len(shown) == of else f"The last {len(shown)} of {of} measurements (--measurements: all)"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in (
        "update",
        "epoch",
        "loss",
        "learning rate",
        "gradient norm",
        "clipped, %",
        "weight distance",
        "evaluation loss",
        "accuracy, %",
        "seconds",
    ):
        table.add_column(column, justify="right")
    for m in shown:
        table.add_row(
            str(m.update),
            f"{m.epoch:.2f}",
            f"{m.loss:.4f}",
            f"{m.lr:.6g}",
            f"{m.gradient_norm:.3g}",
            f"{100 * m.clipped_share:.0f}",
            f"{m.weight_distance:.2f}",
            number_text("evaluation_loss", m.evaluation_loss),
            number_text("accuracy_percent", m.evaluation_accuracy_percent),
            f"{m.seconds:.1f}",
        )
    return table
