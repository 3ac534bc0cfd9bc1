"""What a diagnostic found, in words, numbers and pictures: one value that a terminal, a page and a picture all show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lbadvisor.records.bounded import Bounded
from lbadvisor.records.numerals import number_text, value_text

Entry = str | int | float | None
"""None is shown as absent."""
Style = Literal["line", "dashed", "points"]


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or set of points, of a graph; `low` and `high` are the ends of its band at each x, if it has one.

    A line is straight from one x to the next, on the graph's axes: a curve needs as many of them as it takes to bend.

    `like` is the place, in the graph, of the series whose colour it shares: that of the points which it was fitted to.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    style: Style = "line"
    like: int | None = None


def banded(
    label: str, x: Sequence[float], y: Sequence[Bounded], style: Style = "line", like: int | None = None
) -> Series:
    """The series of numbers with their intervals; an end that is not known is not drawn."""
    low, high = (
        tuple(math.nan if end is None else end for end in ends)
        for ends in ([one.low for one in y], [one.high for one in y])
    )
    return Series(label, tuple(x), tuple(one.value for one in y), low, high, style, like)


@dataclass(frozen=True, slots=True)
class Graph:
    """Series over two axes, whose titles name the unit; `note` says how to read it."""

    title: str
    x_title: str
    y_title: str
    series: tuple[Series, ...]
    logarithmic_x: bool = False
    logarithmic_y: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: a row's cells are in the order of `headings`; `formats` are Python's (`.3g`), "" for text."""

    title: str
    headings: tuple[str, ...]
    formats: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]

    @property
    def texts(self) -> tuple[tuple[str, ...], ...]:
        """The rows as they are shown."""
        return tuple(tuple(map(_text, row, self.formats)) for row in self.rows)


def _text(entry: Entry, form: str) -> str:
    return value_text(entry) if isinstance(entry, str) or not form else number_text(entry, form)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The answer of one diagnostic: `title` names it and what it is of, `conclusion` says in sentences what was found.

    The conclusion has one paragraph a line, and the answer comes first.

    `caveats` are sentences on what stands against trusting it, each with its source. A module of `diagnostics` has a
    generator that yields how far it is and returns its value, and a pure function from that value to a `Diagnosis`.
    """

    title: str
    conclusion: str
    graphs: tuple[Graph, ...] = ()
    grids: tuple[Grid, ...] = ()
    caveats: tuple[str, ...] = ()
