"""A refinement as a table, a chart of characters, and JSON."""

import dataclasses
import math
import statistics
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbadvisor.advisor.refinement import Refinement, Trial, value_text
from lbadvisor.advisor.search_space import point_text
from lbadvisor.cli.render_comparison import json_ready

HEIGHT = 16
WIDTH = 90
CURVE_POINTS = 60
HIGHEST_MEDIANS = 3.0
"""Values up to so many times the trials' median are drawn."""
TRIAL, EXPECTED, BOUNDS = "o", "*", "."


def print_refinement(console: Console, refinement: Refinement, *, chart: bool) -> None:
    """The trials, the fitted curve, and what may be concluded."""
    console.print(
        f"[bold]{refinement.baseline}: batch {refinement.batch_size} -> {refinement.target_batch_size}[/bold], "
        f"study {refinement.study}, judged on {refinement.validation_examples} held-out examples",
        soft_wrap=True,
    )
    console.print(_trials(refinement))
    if chart:
        draw_refinement(console, refinement)
    for result in refinement.tests:
        accuracies = ", ".join(f"{accuracy:.2f}%" for accuracy in result.accuracies_percent)
        console.print(f"test set, measured once: {point_text(refinement.space, result.point)}: {accuracies}")
    if refinement.paired is not None:
        paired = refinement.paired
        console.print(
            f"by {paired.seeds} seeds, in pairs: the chosen trial's {refinement.metric} is {paired.gain_percent:.1f}% "
            f"below the theory's (95% {paired.low_percent:.1f} to {paired.high_percent:.1f}, allowing for the choice "
            f"among {paired.others} trials)",
            soft_wrap=True,
        )
    console.print(Text(refinement.conclusion), soft_wrap=True)


def _trials(refinement: Refinement) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("trial", justify="right")
    for dimension in refinement.space.dimensions:
        table.add_column(dimension.name, justify="right")
    table.add_column("error, %" if refinement.metric == "error" else "loss, nats", justify="right")
    for heading in ("epochs", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("runs")
    for trial in refinement.trials:
        outcome = trial.outcome
        chosen = trial.point == refinement.kept
        table.add_row(
            str(trial.number),
            *(f"{value:.4g}" for value in trial.point),
            _value(trial, refinement),
            "there already" if outcome.taken_in else f"{outcome.epochs:.4g}",
            "" if outcome.taken_in else f"{outcome.seconds:.1f}",
            Text(", ".join(outcome.runs) + (" (stopped early)" if outcome.pruned else "")),
            style="bold" if chosen else "",
        )
    return table


def _value(trial: Trial, refinement: Refinement) -> str:
    if not math.isfinite(trial.value):
        return "diverged"
    text = value_text(trial.value, refinement.metric).split()[0]
    values = trial.outcome.values
    if len(values) > 1:
        deviation = math.sqrt(sum((value - trial.value) ** 2 for value in values) / (len(values) - 1))
        text += " ± " + value_text(deviation, refinement.metric).split()[0]
    return text


def draw_refinement(console: Console, refinement: Refinement) -> None:
    """Draw the trials over their exponents, with the fitted curve and its 95% band; nothing without an estimate."""
    import plotext

    found = refinement.estimate
    if found is None:
        return
    curve = found.curve[:: max(1, len(found.curve) // CURVE_POINTS)]
    # What broke down, and a band that is wide there, would flatten what the picture is about.
    values = [trial.value for trial in refinement.trials if math.isfinite(trial.value)]
    top = 1.25 * min(max(values), HIGHEST_MEDIANS * statistics.median(values))
    shown = [(t.point[0], t.value) for t in refinement.trials if t.value <= top]
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(min(console.width, WIDTH), HEIGHT)
    figure.theme("colorless")
    lines = (
        ([(p.exponent, p.low) for p in curve if p.low <= top], BOUNDS),
        ([(p.exponent, p.high) for p in curve if p.high <= top], BOUNDS),
        ([(p.exponent, p.value) for p in curve if p.value <= top], EXPECTED),
        (shown, TRIAL),
    )
    for points, letter in lines:
        if points:
            x, y = [p[0] for p in points], [p[1] for p in points]
            figure.draw(figure.signal(x, y, marker=plotext.marker(letter, None)))
    figure.label("exponent a of lr * r^a", "x", "lower")
    unit = "validation error, %" if refinement.metric == "error" else "validation loss, nats"
    hidden = len(refinement.trials) - len(shown)
    legend = f"{unit}   {TRIAL} trial   {EXPECTED} expected   {BOUNDS} 95%"
    console.print(Text(legend + (f"   ({hidden} above the picture)" if hidden else "")))
    console.print(Text.from_ansi(figure.build().string(colorless=True)), no_wrap=True, crop=False)


def refinement_body(refinement: Refinement) -> dict[str, Any]:
    """The refinement as the documented JSON object: its record's fields; what is infinite (a run diverged) is null."""
    body: dict[str, Any] = _finite(dataclasses.asdict(refinement, dict_factory=json_ready))
    for trial, record in zip(body["trials"], refinement.trials, strict=True):
        trial["value"] = _finite(record.value)
    if refinement.estimate is not None:
        body["estimate"] |= {
            "holds_square_root": refinement.estimate.holds(0.5),
            "holds_linear": refinement.estimate.holds(1.0),
            "gain_is_certain": refinement.estimate.gain_is_certain,
        }
    return {"schema": 1} | body


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
