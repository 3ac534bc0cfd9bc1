"""A graph drawn with characters."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from lbadvisor.cli.display.console import CHART_WIDTH, say
from lbadvisor.records.diagnosis import Graph, Series

HEIGHT = 16
COLOURS = (12, 9, 10, 13, 14, 11)
"""Terminal colours, by their numbers of 256."""
LETTERS = "123456789abcdefghijklmnopqrstuvwxyz"
SIGNS = {"line": "━", "dashed": "╌·*+", "points": "•"}
"""With colours: laws that were fitted to the same points have the same colour."""
DOTTED = "━╌"
"""Drawn with the dots of braille."""
BAND = "."
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Drawn:
    """How a series is drawn: with which character, and in which colour, None without colours."""

    series: Series
    sign: str
    colour: int | None


def draw_graph(console: Console, graph: Graph) -> None:
    """Draw the graph's series over the whole width, and the ends of their bands; nothing if no series has a point.

    Series differ by colour or, without colours (no terminal, `NO_COLOR`, too many series), by the character; points
    stand apart, and in colour they are dots.
    """
    import plotext

    drawn = _drawn(graph, coloured=console.color_system is not None and not console.no_color)
    if not drawn:
        return
    # plotext 6 has one figure for the whole process: it is cleared first, and freed from the terminal's size.
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(min(console.width, CHART_WIDTH), HEIGHT)
    figure.theme("colorless")
    places: list[tuple[float, float]] = []
    legend = Text(": ".join(filter(None, (graph.title, graph.y_title)))).append("  ")
    for one in drawn:
        legend.append(f"  {one.sign} {one.series.label}", "" if one.colour is None else f"color({one.colour})")
    if any(one.series.low for one in drawn):
        legend.append(f"  {BAND} its band")
    # What is drawn later lies on top: a line on its band, points on the line fitted to them.
    lines = [(one, values, BAND) for one in drawn for values in (one.series.low, one.series.high) if values]
    lines += [(one, one.series.y, one.sign) for one in sorted(drawn, key=lambda one: one.series.style == "points")]
    for one, values, sign in lines:
        if not (points := _points(graph, one.series.x, values)):
            continue
        places += points
        marker = plotext.marker("braille" if sign in DOTTED else sign, one.colour)
        signal = figure.signal(*zip(*points, strict=True), marker=marker)
        figure.draw(signal if one.series.style == "points" else signal.lines())
    _rule(figure, graph, places)
    say(console, legend)
    coloured = any(one.colour is not None for one in drawn)
    console.print(Text.from_ansi(figure.build().string(colorless=not coloured)), no_wrap=True, crop=False)
    if graph.note:
        say(console, Text(graph.note, style="dim"))


def _drawn(graph: Graph, *, coloured: bool) -> list[Drawn]:
    own = [place for place, series in enumerate(graph.series) if series.like is None]
    coloured = coloured and len(own) <= len(COLOURS)
    fitted: Counter[int | None] = Counter()
    drawn = []
    for place, series in enumerate(graph.series):
        colour, sign = None, LETTERS[place % len(LETTERS)]
        if coloured:
            colour = COLOURS[own.index(place if series.like is None else series.like)]
            signs = SIGNS[series.style]
            sign = signs[fitted[series.like] % len(signs)]
            fitted[series.like] += series.like is not None
        if _points(graph, series.x, series.y):
            drawn.append(Drawn(series, sign, colour))
    return drawn


def _points(graph: Graph, x: Sequence[float], y: Sequence[float]) -> Points:
    """The points that have a place on the axes, where these put them."""

    def place(value: float, *, logarithmic: bool) -> float:
        if logarithmic:
            return math.log10(value) if value > 0 else math.nan
        return value

    placed = [
        (place(one, logarithmic=graph.logarithmic_x), place(other, logarithmic=graph.logarithmic_y))
        for one, other in zip(x, y, strict=True)
    ]
    return [point for point in placed if all(map(math.isfinite, point))]


def _rule(figure: object, graph: Graph, drawn: Points) -> None:
    """Round numbers at the axes, in their own unit."""
    for axis, side, logarithmic in (("x", "lower", graph.logarithmic_x), ("y", "left", graph.logarithmic_y)):
        ends = [point["xy".index(axis)] for point in drawn]
        if axis == "x" or logarithmic:
            ticks = _ticks(min(ends), max(ends), logarithmic=logarithmic)
            places = [math.log10(tick) if logarithmic else tick for tick in ticks]
            figure.ruler(axis, side).ticks(places, [f"{tick:g}" for tick in ticks])  # type: ignore[attr-defined]
    title = graph.x_title + (" (logarithmic)" if graph.logarithmic_x else "")
    figure.label(title, "x", "lower")  # type: ignore[attr-defined]


def _ticks(low: float, high: float, *, logarithmic: bool) -> list[float]:
    """Round numbers from low to high, whose logarithms these are if `logarithmic`: at most about eight."""
    if logarithmic:
        powers = range(math.floor(low), math.ceil(high) + 1)
        leading = (1, 2, 5) if len(powers) < 4 else (1,)
        candidates = [digit * 10.0**power for power in powers for digit in leading]
        low, high = 10.0**low, 10.0**high
    else:
        rough = (high - low) / 6 or abs(high) or 1.0
        power = 10.0 ** math.floor(math.log10(rough))
        spacing = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough)
        candidates = [spacing * index for index in range(math.floor(low / spacing), math.ceil(high / spacing) + 1)]
    return [tick for tick in candidates if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)] or [low]
