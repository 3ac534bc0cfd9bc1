"""A refinement as a table, a chart of characters, and JSON."""

import math
import statistics
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from lbadvisor.cli.display.console import say
from lbadvisor.cli.display.json_body import json_of
from lbadvisor.cli.display.table import Heading, Table, print_table
from lbadvisor.cli.display.terminal_graph import draw_graph
from lbadvisor.records.diagnosis import Graph, Series
from lbadvisor.refine.refinement import Refinement, Trial, metric_text
from lbadvisor.refine.search_space import point_text

CURVE_POINTS = 60
HIGHEST_MEDIANS = 3.0
"""Values up to so many times the trials' median are drawn."""


def print_refinement(console: Console, refinement: Refinement, *, chart: bool) -> None:
    """The trials, the fitted curve, and what may be concluded."""
    say(
        console,
        f"[bold]{escape(refinement.baseline)}: batch {refinement.batch_size:,} -> {refinement.target_batch_size:,}"
        f"[/bold], study {escape(refinement.study)}, judged on {refinement.validation_examples:,} held-out examples",
    )
    print_table(console, _trials(refinement))
    if chart:
        draw_refinement(console, refinement)
    for result in refinement.tests:
        accuracies = ", ".join(f"{accuracy:.2f}%" for accuracy in result.accuracies_percent)
        say(console, f"test set, measured once: {point_text(refinement.space, result.point)}: {accuracies}")
    if refinement.paired is not None:
        paired = refinement.paired
        say(
            console,
            f"paired by {paired.seeds} seeds: the chosen trial's {refinement.metric} is {paired.gain_percent:.1f}% "
            f"below the theory's (95% {paired.low_percent:.1f} to {paired.high_percent:.1f}, allowing for the choice "
            f"among {paired.others} trials)",
        )
    say(console, Text(refinement.conclusion))


def _trials(refinement: Refinement) -> Table:
    columns = (
        Heading("trial"),
        *(Heading(dimension.name) for dimension in refinement.space.dimensions),
        Heading("error, %" if refinement.metric == "error" else "loss"),
        Heading("epochs", rank=1),
        Heading("seconds", rank=2),
        Heading("runs", "prose", rank=3),
    )
    return Table(columns, tuple(_row(trial, refinement) for trial in refinement.trials))


def _row(trial: Trial, refinement: Refinement) -> tuple[Text, ...]:
    outcome = trial.outcome
    cells = (
        str(trial.number),
        *(f"{value:.4g}" for value in trial.point),
        _value(trial, refinement),
        "reused" if outcome.taken_in else f"{outcome.epochs:,.4g}",
        "" if outcome.taken_in else f"{outcome.seconds:,.1f}",
        ", ".join(outcome.runs) + (" (stopped early)" if outcome.pruned else ""),
    )
    return tuple(Text(cell, style="bold" if trial.point == refinement.kept else "") for cell in cells)


def _value(trial: Trial, refinement: Refinement) -> str:
    if not math.isfinite(trial.value):
        return "diverged"
    text = metric_text(trial.value, refinement.metric).split()[0]
    values = trial.outcome.values
    if len(values) > 1:
        deviation = math.sqrt(sum((value - trial.value) ** 2 for value in values) / (len(values) - 1))
        text += " ± " + metric_text(deviation, refinement.metric).split()[0]
    return text


def draw_refinement(console: Console, refinement: Refinement) -> None:
    """Draw the trials over their exponents, with the fitted curve and its 95% band; nothing without an estimate."""
    found = refinement.estimate
    if found is None:
        return
    curve = found.curve[:: max(1, len(found.curve) // CURVE_POINTS)]
    # What broke down, and a band that is wide there, would flatten what the picture is about.
    values = [trial.value for trial in refinement.trials if math.isfinite(trial.value)]
    top = 1.25 * min(max(values), HIGHEST_MEDIANS * statistics.median(values))
    hidden = sum(trial.value > top for trial in refinement.trials)

    def shown(values: Iterable[float]) -> tuple[float, ...]:
        return tuple(value if value <= top else math.nan for value in values)

    x, y = tuple(p.exponent for p in curve), shown(p.value for p in curve)
    expected = Series("expected", x, y, shown(p.low for p in curve), shown(p.high for p in curve))
    trials = refinement.trials
    tried = Series("trial", tuple(t.point[0] for t in trials), shown(t.value for t in trials), style="points")
    unit = "validation error, %" if refinement.metric == "error" else "validation loss"
    note = "The band is the 95% interval" + (f"; {hidden} above the chart." if hidden else ".")
    draw_graph(console, Graph("", "exponent a of lr * r^a", unit, (expected, tried), note=note))


def refinement_body(refinement: Refinement) -> dict[str, Any]:
    """The refinement as the documented JSON object: its record's fields; what is infinite (a run diverged) is null."""
    body: dict[str, Any] = json_of(refinement)
    for trial, record in zip(body["trials"], refinement.trials, strict=True):
        trial["value"] = record.value if math.isfinite(record.value) else None
    if refinement.estimate is not None:
        body["estimate"] |= {
            "holds_square_root": refinement.estimate.holds(0.5),
            "holds_linear": refinement.estimate.holds(1.0),
            "gain_is_certain": refinement.estimate.gain_is_certain,
        }
    return {"schema": 1} | body
