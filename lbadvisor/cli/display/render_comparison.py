"""A comparison as tables, GitHub tables, CSV and JSON."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from lbadvisor.cli.display.comma_separated import csv_text
from lbadvisor.cli.display.console import say
from lbadvisor.cli.display.group_rows import EVIDENCE_COLUMNS, closed_text, evidence_values, group_table, points_text
from lbadvisor.cli.display.table import Heading, Table, TableCell, markdown, print_first_that_fits, print_table
from lbadvisor.comparison.change_text import change_texts
from lbadvisor.comparison.comparison import Change, Comparison, Metric
from lbadvisor.records.numerals import number_text, value_text
from lbadvisor.records.quantities import ACCURACY, Better

MOST_COLUMNS = 6
"""Of more groups the tables have a row each, and not a column."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A field or a metric; for each group its value and, empty if there is none, its difference to the first."""

    name: str
    cells: tuple[tuple[str, Text], ...]


def metric_text(comparison: Comparison, metric: Metric, group: int) -> tuple[str, str]:
    """The value of one group as text, mean ± standard deviation if it has several runs, and the mean's difference.

    The difference is to the first group: = for none, "" if it is not known, or is the gap, which has a table of its own
    and the other sign. A lone run that diverged, which is in no mean, shows what it came to.
    """
    spread, first = metric.spreads[group], metric.spreads[0]
    if spread is None:
        before = sum(len(one.runs) for one in comparison.groups[:group])
        lone = len(comparison.groups[group].runs) == 1
        return number_text(metric.values[before] if lone else None, metric.form), ""
    text = number_text(spread.mean, metric.form)
    if spread.std:
        text += f" ± {number_text(spread.std, metric.form)}"
    if group == 0 or first is None or metric.name == ACCURACY.run_name:
        return text, ""
    difference = spread.mean - first.mean
    return text, number_text(difference, metric.form, "+") if difference else "="


def print_comparison(console: Console, comparison: Comparison) -> None:
    """What differs, the metrics, the gap and what may be concluded, as tables."""
    if changed := _changed_rows(comparison):
        print_first_that_fits(console, _forms(comparison, "field", changed), "What differs")
    else:
        say(console, "[bold]What differs[/bold]\n  nothing")
    console.print()
    first = "group" if _has_several(comparison) else "run"
    metrics = _forms(comparison, "metric", _metric_rows(comparison))
    print_first_that_fits(console, metrics, f"Metrics, and differences to the first {first}")
    console.print()
    print_table(console, gap_table(comparison), "Generalization gap, in points of validation error")
    console.print()
    say(console, Text(comparison.gap.conclusion))
    for note in comparison.notes:
        say(console, Text(f"note: {note}"))
    console.print()


def gap_table(comparison: Comparison) -> Table:
    """Each group with its gap and the share that it closes; with several seeds, accuracy and intervals as well."""
    if _has_several(comparison):
        return group_table(comparison, "group")
    rows = tuple((gap.group, points_text(gap), closed_text(gap)) for gap in comparison.gap.groups)
    return Table((Heading("run", "name"), Heading("gap, points"), Heading("closed")), rows)


def _has_several(comparison: Comparison) -> bool:
    return any(len(group.runs) > 1 for group in comparison.groups)


def _told(comparison: Comparison) -> list[Change]:
    """What differs, but for the seed where groups are made of it."""
    return [c for c in comparison.changed if c.field != "seed" or not _has_several(comparison)]


def _changed_rows(comparison: Comparison) -> list[_Row]:
    return [
        _Row(change.field, tuple((text, Text()) for text in change_texts(comparison, change)))
        for change in _told(comparison)
    ]


def _metric_rows(comparison: Comparison) -> list[_Row]:
    rows = []
    for metric in comparison.metrics:
        texts = (metric_text(comparison, metric, index) for index in range(len(comparison.groups)))
        cells = tuple((value, Text(text, _style(metric, index))) for index, (value, text) in enumerate(texts))
        rows.append(_Row(metric.label, cells))
    return rows


def _forms(comparison: Comparison, corner: str, rows: Sequence[_Row]) -> list[Table]:
    """The rows as tables, the best first: a column for each group, then a row for each; each first flat, then tall."""
    labels = [group.label for group in comparison.groups]
    forms = [_upright(labels, rows, tall=tall) for tall in (False, True)]
    if len(labels) > MOST_COLUMNS:
        return forms
    columns = (Heading(corner, "prose"), *map(Heading, labels))

    def beside(row: _Row, *, tall: bool) -> tuple[TableCell, ...]:
        return row.name, *(_cell(cell, tall=tall) for cell in row.cells)

    return [*(Table(columns, tuple(beside(row, tall=tall) for row in rows)) for tall in (False, True)), *forms]


def _upright(labels: Sequence[str], rows: Sequence[_Row], *, tall: bool) -> Table:
    """A row for each group; the last of the rows that are its columns is the least important."""
    return Table(
        (Heading("group", "name"), *(Heading(row.name, rank=place) for place, row in enumerate(rows))),
        tuple((label, *(_cell(row.cells[place], tall=tall) for row in rows)) for place, label in enumerate(labels)),
    )


def _cell(cell: tuple[str, Text], *, tall: bool) -> Text:
    """The value and its difference in one line; or, tall, each on its own, as each part of a value that has several."""
    value, difference = cell
    if tall:
        value = value.replace(", ", ",\n")
    return Text.assemble(value, "\n" if tall else "  ", difference) if difference else Text(value)


def _style(metric: Metric, group: int) -> str:
    spread, first = metric.spreads[group], metric.spreads[0]
    if metric.better is Better.NEITHER or spread is None or first is None or spread.mean == first.mean:
        return "dim"
    return "green" if (spread.mean > first.mean) is (metric.better is Better.HIGHER) else "red"


def markdown_of(comparison: Comparison) -> str:
    """The same as GitHub tables."""
    columns = [Heading(group.label) for group in comparison.groups]
    changed = tuple((change.field, *change_texts(comparison, change)) for change in _told(comparison))
    metrics = []
    for metric in comparison.metrics:
        texts = [metric_text(comparison, metric, index) for index in range(len(columns))]
        cells = (f"{value} ({difference})" if difference else value for value, difference in texts)
        metrics.append((metric.label, *cells))
    lines = [
        *markdown(Table((Heading("field", "name"), *columns), changed)),
        *markdown(Table((Heading("metric", "name"), *columns), tuple(metrics))),
        *markdown(gap_table(comparison)),
        comparison.gap.conclusion,
        *(f"\n- {note}" for note in comparison.notes),
    ]
    return "\n".join(lines)


def csv_of(comparison: Comparison) -> str:
    """One row per run, in full precision; the gap and what it closes are those of the run's group."""
    titles: list[object] = [
        *("number", "name", "group", "status"),
        *(change.field for change in comparison.changed),
        *(name for metric in comparison.metrics for name in (metric.name, f"{metric.name}_difference")),
        *("gap_points", "gap_points_low", "gap_points_high", "gap_pairs"),
        *("gap_closed_percent", "gap_closed_percent_low", "gap_closed_percent_high", *EVIDENCE_COLUMNS),
    ]
    rows = [titles]
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
        rows.append(row)
    return csv_text(rows)
