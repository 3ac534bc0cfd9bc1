"""Charts as one PNG picture, in panels: each a heading, a sentence, its charts, and what their lines are."""

import math
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lbadvisor.records.diagnosis import Graph, Series
from lbadvisor.report.appearance import Look
from lbadvisor.report.charts import Chart
from lbadvisor.report.writing import PICTURE_MARK, check_target, write_whole
from lbadvisor.version import __version__

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

DOTS_PER_INCH = 150
LEAST_WIDTH_INCHES = 6.0
NOTE_POINTS = 11
"""Height of a line of a chart's note."""
AXIS_CHARACTERS = 60
"""An axis whose title is longer has it in several lines."""
MARKERS = {
    "circle": "o", "square": "s", "triangle-up": "^", "diamond": "D", "x": "X", "cross": "P", "star": "*", None: "",
}  # fmt: skip
"""Plotly's names, and matplotlib's for the same."""


@dataclass(frozen=True, slots=True)
class Panel:
    """Charts below a heading and a sentence, at most `columns` beside each other, each `chart_inches` wide and high.

    `shared` are the labels and looks of all charts' lines in one legend below them, nothing if there are too many to be
    named; if it is None, each chart has a legend and a note of its own.
    """

    heading: str
    sentence: str
    charts: tuple[Chart, ...]
    columns: int
    chart_inches: tuple[float, float]
    shared: tuple[tuple[str, Look], ...] | None = None

    @property
    def across(self) -> int:
        """How many charts stand beside each other."""
        return max(min(self.columns, len(self.charts)), 1)

    @property
    def width_inches(self) -> float:
        """The least width of the panel."""
        return max(self.chart_inches[0] * self.across, LEAST_WIDTH_INCHES)


def write_panels(path: Path, panels: Sequence[Panel]) -> int:
    """Write the panels to `path` as a PNG picture, atomically; returns its size in bytes.

    Raises `UsageError` if another kind of file is in the way, `LbadvisorError` if it cannot be written.
    """
    check_target(path, PICTURE_MARK)
    with warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes: no reason for lines on stderr.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure = figure_of_panels(panels)
        write_whole(
            path, lambda file: figure.savefig(file, format="png", metadata={"Software": f"lbadvisor {__version__}"})
        )
    return path.stat().st_size


def figure_of_panels(panels: Sequence[Panel]) -> "Figure":
    """The panels below each other as a figure of matplotlib."""
    from matplotlib.figure import Figure

    width = max(panel.width_inches for panel in panels)
    entries = max(int(width // 2.2), 1)
    heights: list[float] = []
    for panel in panels:
        lines = _heading(panel, width).count("\n") + 1, _sentence(panel, width).count("\n") + 1
        rows = -(-len(panel.charts) // panel.across)
        heights += [
            0.35 + 0.26 * lines[0] + 0.19 * lines[1],
            max(panel.chart_inches[1] * rows, 0.1),
            0.2 + 0.24 * -(-len(panel.shared or ()) // entries),
        ]
    figure = Figure(figsize=(width, sum(heights)), dpi=DOTS_PER_INCH, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.06)  # type: ignore[union-attr, call-arg]
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for place, panel in enumerate(panels):
        above, charts, below = parts[3 * place : 3 * place + 3]
        _write(above, panel, width, heights[3 * place])
        rows = -(-len(panel.charts) // panel.across)
        for number, chart in enumerate(panel.charts, start=1):
            axes = charts.add_subplot(rows, panel.across, number)
            draw_chart(axes, chart)
            if panel.shared is None:
                _annotate(axes, chart, panel.chart_inches[0])
        if panel.shared:
            _add_legend(below, panel.shared, entries)
    return figure


def _heading(panel: Panel, width: float) -> str:
    return textwrap.fill(panel.heading, int(width * 9))


def _sentence(panel: Panel, width: float) -> str:
    return "\n".join(textwrap.fill(line, int(width * 12)) for line in panel.sentence.splitlines())


def _write(part: "SubFigure", panel: Panel, width: float, height: float) -> None:
    heading = _heading(panel, width)
    # A user's words may hold dollar signs, which are no formula.
    part.text(0.15 / width, 1 - 0.15 / height, heading, va="top", size=14, weight="bold", parse_math=False)
    below = 0.22 + 0.26 * (heading.count("\n") + 1)
    sentence = _sentence(panel, width)
    part.text(0.15 / width, 1 - below / height, sentence, va="top", size=9.5, color="#444444", parse_math=False)


def draw_chart(axes: "Axes", chart: Chart) -> None:
    """Draw the graph's lines, points and bands with their looks."""
    graph = chart.graph
    for series, look in zip(graph.series, chart.looks, strict=True):
        is_points = series.style == "points"
        if series.low is not None and series.high is not None and series.low != series.high:
            if is_points:
                axes.vlines(series.x, series.low, series.high, color=look.light, linewidth=1.0)
            else:
                axes.fill_between(series.x, series.low, series.high, color=look.light, alpha=0.15, linewidth=0)
        axes.add_line(_line(series, look))
    axes.autoscale_view()
    axes.set_title(graph.title, loc="left", size=10, weight="bold", parse_math=False)
    if graph.logarithmic_y:
        axes.set_yscale("log")
        _rule(axes.yaxis, [value for series in graph.series for value in series.y])
    if chart.from_zero:
        axes.set_ylim(bottom=0)
    if graph.logarithmic_x:
        axes.set_xscale("log")
        _rule(axes.xaxis, [value for series in graph.series for value in series.x])
    axes.set_xlabel(_axis_title(graph.x_title, logarithmic=graph.logarithmic_x), size=9, parse_math=False)
    axes.set_ylabel(_axis_title(graph.y_title, logarithmic=graph.logarithmic_y), size=9, parse_math=False)
    axes.tick_params(which="both", labelsize=8)
    axes.grid(color="#E3E6EA", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _rule(axis: "Axis", values: Sequence[float]) -> None:
    """Numbers of a logarithmic axis, as the page has them: powers of ten, or 1, 2, 5, 10; or even steps."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    known = [value for value in values if 0 < value < math.inf]
    ratio = max(known, default=1.0) / min(known, default=1.0)
    if ratio < 5:
        axis.set_major_locator(MaxNLocator(6))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if ratio < 100 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def _axis_title(title: str, *, logarithmic: bool) -> str:
    return textwrap.fill(f"{title} (logarithmic)" if title and logarithmic else title, AXIS_CHARACTERS)


def _line(series: Series, look: Look) -> "Line2D":
    from matplotlib.lines import Line2D

    is_points, few = series.style == "points", len(series.x) <= 24
    return Line2D(
        series.x,
        series.y,
        color=look.light,
        linewidth=1.4 if look.marker or series.like is not None else 0.7,
        linestyle="none" if is_points else _dashes(look),
        marker=MARKERS[look.marker or "circle"] if is_points else MARKERS[look.marker],
        markersize=4.5,
        markevery=1 if is_points or few else max(len(series.x) // 8, 1),
    )


def _annotate(axes: "Axes", chart: Chart, width: float) -> None:
    """The graph's note below its title, and below its axis what its lines are."""
    graph: Graph = chart.graph
    note = textwrap.fill(graph.note, int(width * 13)) if graph.note else ""
    lines = note.count("\n") + 1 if note else 0
    title = textwrap.fill(graph.title, int(width * 10))
    axes.set_title(title, loc="left", size=10, weight="bold", parse_math=False, pad=6 + NOTE_POINTS * lines)
    # Points above the axes' upper left corner.
    axes.annotate(
        note,
        xy=(0, 1),
        xytext=(0, 4),
        xycoords="axes fraction",
        textcoords="offset points",
        va="bottom",
        size=8,
        color="#57606A",
        parse_math=False,
    )
    labels = [textwrap.shorten(series.label, 60, placeholder="…") for series in graph.series]
    columns = 1 if max(map(len, labels), default=0) > width * 5 else 2
    lines_ = [_line(series, look) for series, look in zip(graph.series, chart.looks, strict=True)]
    _legend(axes, lines_, labels, loc="upper left", bbox_to_anchor=(0, -0.16), ncols=columns, fontsize=8)


def _dashes(look: Look) -> tuple[float, tuple[float, ...]] | Literal["solid"]:
    if look.dashes == "none":
        return "solid"
    # Multiples of the line's width; the page has them in pixels.
    return 0, tuple(float(length) * 0.6 for length in look.dashes.split())


def _add_legend(part: "SubFigure", shared: Sequence[tuple[str, Look]], columns: int) -> None:
    lines = [_line(Series(label, (), ()), look) for label, look in shared]
    labels = [textwrap.shorten(label, 28, placeholder="…") for label, _ in shared]
    _legend(part, lines, labels, loc="lower left", ncols=columns, fontsize=9)


def _legend(place: "Axes | SubFigure", lines: "Sequence[Line2D]", labels: Sequence[str], **layout: Any) -> None:
    # Labels are set afterwards: a legend leaves out those that begin with an underscore.
    legend = place.legend(lines, ["-"] * len(lines), frameon=False, handlelength=3.2, **layout)
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_text(label)
