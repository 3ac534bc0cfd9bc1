"""A comparison as tables, GitHub tables, CSV and JSON."""

import csv
import io
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbadvisor.advisor.compare import Better, Comparison, Metric

ABSENT = "-"


def json_ready(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """A record's fields as JSON has them, for `dataclasses.asdict`: times as ISO 8601, what is not finite as null."""
    ready = {}
    for name, value in items:
        if isinstance(value, datetime):
            value = value.isoformat()
        elif isinstance(value, float) and not math.isfinite(value):
            value = None
        elif isinstance(value, BaseModel):
            value = value.model_dump(mode="json", exclude_none=True)
        ready[name] = value
    return ready


def value_text(value: object) -> str:
    """A recipe's value as a table shows it: floats with six digits, a hyphen for what is absent."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, tuple | list):
        return ", ".join(map(value_text, value)) or "none"
    return str(value)


def metric_text(metric: Metric, index: int) -> tuple[str, str]:
    """The value of one run as text, and its signed difference to the first: = for none, "" where one is not known."""
    value, difference = metric.values[index], metric.differences[index]
    if not difference:
        return number_text(metric.name, value), "" if difference is None else "="
    return number_text(metric.name, value), number_text(metric.name, difference, "+")


def number_text(name: str, value: float | None, sign: str = "") -> str:
    """A measured number as a table shows it; `name` says what it is, "+" as `sign` shows a plus."""
    if value is None:
        return ABSENT
    if isinstance(value, int):
        return f"{value:{sign},}".replace(",", " ")
    if name.endswith("percent") or name == "weight_distance":
        return f"{value:{sign}.2f}"
    if name in ("seconds", "epochs"):
        return f"{value:{sign}.1f}"
    return f"{value:{sign}.4f}"


def print_comparison(console: Console, comparison: Comparison) -> None:
    """What differs, the metrics, the gap and what may be concluded, as tables."""
    names = [run.name for run in comparison.runs]
    changed = _table(["field", *names])
    for change in comparison.changed:
        changed.add_row(Text(change.field), *(Text(value_text(value)) for value in change.values))
    metrics = _table(["metric", *names])
    for metric in comparison.metrics:
        cells = [Text(metric_text(metric, 0)[0])]
        for index in range(1, len(names)):
            value, difference = metric_text(metric, index)
            cells.append(Text.assemble(value, "  ", (difference, _style(metric, index))))
        metrics.add_row(metric.label, *cells)
    gap = _table(["run", "gap", "closed"])
    for run in comparison.gap.runs:
        gap.add_row(Text(run.run), *_gap_texts(run.points, run.closed_percent))
    _print_titled(console, "What differs", changed if comparison.changed else "  nothing")
    _print_titled(console, "Metrics, and differences to the first run", metrics)
    _print_titled(console, "Generalization gap, in points of validation error", gap)
    console.print(Text(comparison.gap.conclusion))
    for note in comparison.notes:
        console.print(Text(f"note: {note}"))
    console.print()


def _print_titled(console: Console, title: str, body: Table | str) -> None:
    console.print(Text(title, style="bold"), body, "", sep="\n")


def _table(header: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for index, name in enumerate(header):
        # A run's name is the user's text: as Text, it is not read as markup.
        table.add_column(Text(name), justify="left" if index == 0 else "right", overflow="fold")
    return table


def _style(metric: Metric, index: int) -> str:
    difference = metric.differences[index]
    if metric.better is Better.NEITHER or not difference:
        return "dim"
    return "green" if (difference > 0) is (metric.better is Better.HIGHER) else "red"


def _gap_texts(points: float | None, closed_percent: float | None) -> tuple[str, str]:
    gap = ABSENT if points is None else f"{points:+.2f}"
    return gap, ABSENT if closed_percent is None else f"{closed_percent:.0f}%"


def markdown_of(comparison: Comparison) -> str:
    """The same as GitHub tables."""
    names = [run.name for run in comparison.runs]
    changed = [[change.field, *map(value_text, change.values)] for change in comparison.changed]
    metrics = []
    for metric in comparison.metrics:
        texts = [metric_text(metric, index) for index in range(len(names))]
        cells = [texts[0][0]] + [f"{value} ({difference})" if difference else value for value, difference in texts[1:]]
        metrics.append([metric.label, *cells])
    gap = [[run.run, *_gap_texts(run.points, run.closed_percent)] for run in comparison.gap.runs]
    lines = [
        *_markdown_table(["field", *names], changed),
        *_markdown_table(["metric", *names], metrics),
        *_markdown_table(["run", "gap, points", "closed"], gap),
        comparison.gap.conclusion,
        *(f"\n- {note}" for note in comparison.notes),
    ]
    return "\n".join(lines)


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    # GitHub ends a cell at a bar wherever it stands, and a row at a line's end.
    escaped = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return [*(f"| {' | '.join(line)} |" for line in escaped), ""]


def csv_of(comparison: Comparison) -> str:
    """One row per run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["number", "name", "status"]
        + [change.field for change in comparison.changed]
        + [name for metric in comparison.metrics for name in (metric.name, f"{metric.name}_difference")]
        + ["gap_points", "gap_closed_percent"]
    )
    for index, (run, gap) in enumerate(zip(comparison.runs, comparison.gap.runs, strict=True)):
        row: list[object] = [run.number, run.name, str(run.status)]
        row += [
            value_text(value) if isinstance(value := change.values[index], tuple) else value
            for change in comparison.changed
        ]
        for metric in comparison.metrics:
            row += [metric.values[index], metric.differences[index]]
        writer.writerow([*row, gap.points, gap.closed_percent])
    return text.getvalue()
