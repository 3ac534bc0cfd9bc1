"""Tables for people: no name, number or word in them is ever broken or cut.

A console that is too narrow for a table shows fewer of its columns, and a line says which are missing. What is no
terminal is never too narrow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import rich.table
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from lbadvisor.cli.display.console import say
from lbadvisor.records.numerals import ABSENT

GAP = 2
LEAST_PROSE = 18
"""Characters below which prose is no longer read with ease."""

TableCell = str | Text
"""A text as it is, never markup: names are the user's."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A column: its title, what its cells are, and how important it is.

    A name and a number are shown whole; prose is broken between words, and so is every title. Of the columns whose
    `rank` is above 0 the highest is left out first.
    """

    title: str
    kind: Literal["name", "number", "prose"] = "number"
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, and rows that have a cell for each."""

    columns: tuple[Heading, ...]
    rows: tuple[tuple[TableCell, ...], ...]


def print_table(console: Console, table: Table, title: str = "") -> None:
    """Print the table, and which columns there was no room for."""
    shown, left_out = _within(table, console.width)
    widths = _widths(shown, console.width)
    grid = rich.table.Table(box=None, pad_edge=False, padding=(0, GAP // 2), header_style="bold")
    grid.show_header = any(column.title for column in shown.columns)
    for column, width in zip(shown.columns, widths, strict=True):
        grid.add_column(Text(column.title), justify="right" if column.kind == "number" else "left", width=width)
    for row in shown.rows:
        grid.add_row(*map(_text, row))
    if title:
        say(console, Text(title, style="bold"))
    # As wide as it is: a terminal wraps what even its most important columns are too wide for.
    whole = console.options.update(width=sum(widths) + GAP * (len(widths) - 1))
    for segments in console.render_lines(grid, whole, pad=False):
        line = Text.assemble(*((segment.text, segment.style or "") for segment in segments))
        line.rstrip()
        console.print(line, soft_wrap=True)
    if left_out:
        say(
            console,
            Text(f"left out to fit the width: {'; '.join(left_out)} (a wider terminal or --json shows all)", "dim"),
        )


def print_facts(console: Console, facts: Mapping[str, object]) -> None:
    """Print what is known by its names; a hyphen for what is not."""
    rows = ((Text(name, style="bold"), ABSENT if fact is None else str(fact)) for name, fact in facts.items())
    print_table(console, Table((Heading("", "name"), Heading("", "prose")), tuple(rows)))


def print_first_that_fits(console: Console, tables: Sequence[Table], title: str = "") -> None:
    """Print the first of the forms of a table that the console has room for, or the last one."""
    print_table(console, next((table for table in tables if _fits(table, console.width)), tables[-1]), title)


def markdown(table: Table) -> list[str]:
    """The table as the lines of a GitHub table and an empty line; nothing of a table without rows."""
    if not table.rows:
        return []
    rules = ["---:" if column.kind == "number" else "---" for column in table.columns]
    lines = [
        [column.title for column in table.columns],
        rules,
        *([_text(cell).plain for cell in r] for r in table.rows),
    ]
    # GitHub ends a cell at a bar wherever it stands, and a row at a line's end.
    escaped = ([cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return [*(f"| {' | '.join(line)} |" for line in escaped), ""]


def _text(cell: TableCell) -> Text:
    return Text(cell) if isinstance(cell, str) else cell


def _within(table: Table, width: int) -> tuple[Table, list[str]]:
    """The table without as many of its least important columns as it takes to fit, and the titles of those."""
    left_out: list[str] = []
    while not _fits(table, width) and max(column.rank for column in table.columns) > 0:
        least = max(range(len(table.columns)), key=lambda place: (table.columns[place].rank, place))
        left_out.insert(0, table.columns[least].title)
        table = replace(
            table,
            columns=table.columns[:least] + table.columns[least + 1 :],
            rows=tuple(row[:least] + row[least + 1 :] for row in table.rows),
        )
    return table, left_out


def _fits(table: Table, width: int) -> bool:
    return sum(least + GAP for least, _ in _needs(table)) - GAP <= width


def _widths(table: Table, width: int) -> list[int]:
    """The columns' widths: as wide as each would be, or so narrow that together they fit; never below the least."""
    needs = _needs(table)
    room = width - GAP * (len(needs) - 1)
    widest = max((whole for _, whole in needs), default=0)
    for level in range(widest, -1, -1):
        widths = [max(least, min(whole, level)) for least, whole in needs]
        if sum(widths) <= room:
            break
    return widths


def _needs(table: Table) -> list[tuple[int, int]]:
    """For each column the least width at which no word of it breaks, and the width at which no line does."""
    needs = []
    for place, column in enumerate(table.columns):
        cells = [line for row in table.rows for line in _text(row[place]).plain.split("\n")]
        whole = max(map(cell_len, [column.title, *cells]))
        solid = column.title.split() + (
            [word for cell in cells for word in cell.split()] if column.kind == "prose" else cells
        )
        least = max(map(cell_len, solid), default=0)
        needs.append((max(least, min(LEAST_PROSE, whole)) if column.kind == "prose" else least, whole))
    return needs
