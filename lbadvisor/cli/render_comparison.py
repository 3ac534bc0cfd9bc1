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

from lbadvisor.advisor.comparison import Better, Change, Comparison, Metric
from lbadvisor.advisor.metrics import ACCURACY, Column
from lbadvisor.cli.group_rows import ABSENT as ABSENT
from lbadvisor.cli.group_rows import (
    EVIDENCE_COLUMNS,
    closed_text,
    evidence_values,
    group_header,
    group_rows,
    legend,
    points_text,
)

MOST_COLUMNS = 6
"""Of more groups the tables have a row each, and not a column."""
_OF_GAP = Column(ACCURACY, "last").name
_WHOLE = ("updates", "examples", "update")


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


def metric_text(comparison: Comparison, metric: Metric, group: int) -> tuple[str, str]:
    """The value of one group as text, mean ± standard deviation where it has several runs, and the mean's difference.

    The difference is to the first group: = for none, "" if it is not known, or is the gap, which has a table of its own
    and the other sign. A lone run that diverged, which is in no mean, shows what it came to.
    """
    spread, first = metric.spreads[group], metric.spreads[0]
    if spread is None:
        before = sum(len(one.runs) for one in comparison.groups[:group])
        lone = len(comparison.groups[group].runs) == 1
        return number_text(metric.name, metric.values[before] if lone else None), ""
    text = number_text(metric.name, spread.mean)
    if spread.std:
        text += f" ± {number_text(metric.name, spread.std)}"
    if group == 0 or first is None or metric.name == _OF_GAP:
        return text, ""
    difference = spread.mean - first.mean
    return text, number_text(metric.name, difference, "+") if difference else "="


def number_text(name: str, value: float | None, sign: str = "") -> str:
    """A measured number as a table shows it; `name` says what it is, "+" as `sign` shows a plus."""
    if value is None:
        return ABSENT
    if isinstance(value, int) or name in _WHOLE or name.endswith("_update"):
        return f"{round(value):{sign},}".replace(",", " ")
    if "percent" in name or name.startswith("weight_distance"):
        return f"{value:{sign}.2f}"
    if name in ("seconds", "epochs"):
        return f"{value:{sign}.1f}"
    return f"{value:{sign}.4f}"


def print_comparison(console: Console, comparison: Comparison) -> None:
    """What differs, the metrics, the gap and what may be concluded, as tables."""
    labels = [group.label for group in comparison.groups]
    upright = len(labels) > MOST_COLUMNS
    changed = [
        (change.field, [Text(text) for text in _change_texts(comparison, change)]) for change in _told(comparison)
    ]
    metrics = []
    for metric in comparison.metrics:
        cells = [Text(metric_text(comparison, metric, 0)[0])]
        for index in range(1, len(labels)):
            value, difference = metric_text(comparison, metric, index)
            cells.append(Text.assemble(value, "  ", (difference, _style(metric, index))) if difference else Text(value))
        metrics.append((metric.label, cells))
    _print_titled(console, "What differs", _laid_out("field", labels, changed, upright) if changed else "  nothing")
    first = "group" if _has_several(comparison) else "run"
    table = _laid_out("metric", labels, metrics, upright)
    _print_titled(console, f"Metrics, and differences to the first {first}", table)
    _print_titled(console, "Generalization gap, in points of validation error", gap_table(comparison))
    for line in legend(comparison):
        console.print(Text(line))
    console.print(Text(comparison.gap.conclusion))
    for note in comparison.notes:
        console.print(Text(f"note: {note}"))
    console.print()


def gap_table(comparison: Comparison) -> Table:
    """Each group with its gap and the share that it closes; with several seeds, accuracy and intervals as well."""
    header, rows = _gap_rows(comparison)
    table = _table(header)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _gap_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    if not _has_several(comparison):
        rows = [[gap.group, points_text(gap), closed_text(gap)] for gap in comparison.gap.groups]
        return ["run", "gap, points", "closed"], rows
    return ["group", *group_header(comparison)], group_rows(comparison)


def _has_several(comparison: Comparison) -> bool:
    return any(len(group.runs) > 1 for group in comparison.groups)


def _told(comparison: Comparison) -> list[Change]:
    """What differs, but for the seed where groups are made of it."""
    return [c for c in comparison.changed if c.field != "seed" or not _has_several(comparison)]


def _change_texts(comparison: Comparison, change: Change) -> list[str]:
    """The field's value in each group: all values where a group has several."""
    places = {run.number: place for place, run in enumerate(comparison.runs)}
    return [
        ", ".join(dict.fromkeys(value_text(change.values[places[number]]) for number in group.runs))
        for group in comparison.groups
    ]


def _laid_out(corner: str, labels: Sequence[str], rows: Sequence[tuple[str, Sequence[Text]]], upright: bool) -> Table:
    """A column for each group; or, upright, a row for each."""
    if not upright:
        table = _table([corner, *labels])
        for name, cells in rows:
            table.add_row(Text(name), *cells)
        return table
    table = _table(["group", *(name for name, _ in rows)])
    for index, label in enumerate(labels):
        table.add_row(Text(label), *(cells[index] for _, cells in rows))
    return table


def _print_titled(console: Console, title: str, body: Table | str) -> None:
    console.print(Text(title, style="bold"), body, "", sep="\n")


def _table(header: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for index, name in enumerate(header):
        # A run's name is the user's text: as Text, it is not read as markup.
        table.add_column(Text(name), justify="left" if index == 0 else "right", overflow="fold")
    return table


def _style(metric: Metric, group: int) -> str:
    spread, first = metric.spreads[group], metric.spreads[0]
    if metric.better is Better.NEITHER or spread is None or first is None or spread.mean == first.mean:
        return "dim"
    return "green" if (spread.mean > first.mean) is (metric.better is Better.HIGHER) else "red"


def markdown_of(comparison: Comparison) -> str:
    """The same as GitHub tables."""
    labels = [group.label for group in comparison.groups]
    changed = [[change.field, *_change_texts(comparison, change)] for change in _told(comparison)]
    metrics = []
    for metric in comparison.metrics:
        texts = [metric_text(comparison, metric, index) for index in range(len(labels))]
        cells = [f"{value} ({difference})" if difference else value for value, difference in texts]
        metrics.append([metric.label, *cells])
    header, rows = _gap_rows(comparison)
    lines = [
        *_markdown_table(["field", *labels], changed),
        *_markdown_table(["metric", *labels], metrics),
        *_markdown_table(header, rows),
        *(f"{line}\n" for line in legend(comparison)),
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
    """One row per run, in full precision; the gap and what it closes are those of the run's group."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["number", "name", "group", "status"]
        + [change.field for change in comparison.changed]
        + [name for metric in comparison.metrics for name in (metric.name, f"{metric.name}_difference")]
        + ["gap_points", "gap_points_low", "gap_points_high", "gap_pairs"]
        + ["gap_closed_percent", "gap_closed_percent_low", "gap_closed_percent_high", *EVIDENCE_COLUMNS]
    )
    groups = {number: i for i, group in enumerate(comparison.groups) for number in group.runs}
    for index, run in enumerate(comparison.runs):
        group = groups[run.number]
        row: list[object] = [run.number, run.name, comparison.groups[group].label, str(run.status)]
        row += [
            value_text(value) if isinstance(value := change.values[index], tuple) else value
            for change in comparison.changed
        ]
        for metric in comparison.metrics:
            row += [metric.values[index], metric.differences[index]]
        gap = comparison.gap.groups[group]
        points, closed = gap.points_interval or (None, None), gap.closed_interval or (None, None)
        row += [gap.points, *points, gap.pairs, gap.closed_percent, *closed, *evidence_values(gap)]
        writer.writerow(row)
    return text.getvalue()
