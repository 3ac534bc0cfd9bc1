"""A graph drawn with characters."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from lbadvisor.cli.display.console import CHART_WIDTH, say
from lbadvisor.records.diagnosis import Graph, Series

HEIGHT = 16
COLOURS = (12, 9, 10, 13, 14, 11)
"""Terminal colours, by their numbers of 256."""
LETTERS = "123456789abcdefghijklmnopqrstuvwxyz"
SIGNS = {"line": "━", "dashed": "╌·*+", "points": "•"}
DOTTED = "━╌"
"""With colours; these are drawn with the dots of braille."""
Points = Sequence[tuple[float, float]]


def draw_graph(console: Console, graph: Graph) -> None:
    """Draw the graph's series, without their bands, over the whole width; nothing if no series has a point.

    Series differ by colour or, without colours (no terminal, `NO_COLOR`, too many series), by the character; points
    stand apart, and in colour they are dots.
    """
    import plotext

    drawn = [(series, points) for series in graph.series if (points := _points(graph, series))]
    if not drawn:
        return
    own = [series for series, _ in drawn if series.like is None]
    coloured = console.color_system is not None and not console.no_color and len(own) <= len(COLOURS)

    # plotext 6 has one figure for the whole process: it is cleared first, and freed from the terminal's size.
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(min(console.width, CHART_WIDTH), HEIGHT)
    figure.theme("colorless")
    legend, lines = Text(": ".join(filter(None, (graph.title, graph.y_title)))).append("  "), []
    for index, (series, points) in enumerate(drawn):
        kin = series if series.like is None else graph.series[series.like]
        colour = COLOURS[own.index(kin)] if coloured and kin in own else None
        letter = LETTERS[index % len(LETTERS)]
        # Laws that were fitted to the same points have the same colour.
        fits = sum(other.like == series.like and other.style == "dashed" for other, _ in drawn[:index])
        sign = SIGNS[series.style][fits % len(SIGNS[series.style])] if coloured else letter
        signal = figure.signal(
            *zip(*points, strict=True), marker=plotext.marker("braille" if sign in "━╌" else sign, colour)
        )
        lines.append(signal if series.style == "points" else signal.lines())
        legend.append(f"  {sign} {series.label}", style="" if colour is None else f"color({colour})")
    # What is drawn later lies on top: points lie on the line fitted to them.
    order = sorted(range(len(drawn)), key=lambda place: drawn[place][0].style == "points")
    for place in order:
        figure.draw(lines[place])
    _rule(figure, graph, [points for _, points in drawn])
    say(console, legend)
    console.print(Text.from_ansi(figure.build().string(colorless=not coloured)), no_wrap=True, crop=False)
    if graph.note:
        say(console, Text(graph.note, style="dim"))


def _points(graph: Graph, series: Series) -> Points:
    """The points that have a place on the axes, where these put them."""

    def place(value: float, *, logarithmic: bool) -> float:
        return math.log10(value) if logarithmic else value

    return [
        (place(x, logarithmic=graph.logarithmic_x), place(y, logarithmic=graph.logarithmic_y))
        for x, y in zip(series.x, series.y, strict=True)
        if math.isfinite(x) and math.isfinite(y)
        if (x > 0 or not graph.logarithmic_x) and (y > 0 or not graph.logarithmic_y)
    ]


def _rule(figure: object, graph: Graph, drawn: Sequence[Points]) -> None:
    """Round numbers at the axes, in their own unit."""
    for axis, side, logarithmic in (("x", "lower", graph.logarithmic_x), ("y", "left", graph.logarithmic_y)):
        ends = [point["xy".index(axis)] for points in drawn for point in points]
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
