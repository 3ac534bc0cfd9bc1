"""The report's charts as one PNG picture, for a paper or a chat."""

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lbadvisor.report.answer import headline_of
from lbadvisor.report.appearance import Look, looks_of
from lbadvisor.report.charts import Chart, charts_of, far_apart
from lbadvisor.report.contents import Report
from lbadvisor.report.writing import check_target, write_whole
from lbadvisor.version import __version__

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARK = b"Software\0lbadvisor "
COLUMNS = 3
CHART_INCHES = (4.4, 3.2)
DOTS_PER_INCH = 150
NAMED_GROUPS = 24
"""More groups are drawn without a legend, which would be larger than the charts."""
MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle-up": "^",
    "diamond": "D",
    "x": "X",
    "cross": "P",
    "star": "*",
    None: "",
}
"""Plotly's names, and matplotlib's for the same."""


def check_picture_target(path: Path) -> None:
    """Raise if the picture cannot be written to `path`: see `check_target`."""
    check_target(path, MARK)


def write_picture(path: Path, report: Report) -> int:
    """Write the report's charts over updates to `path` as a PNG picture, atomically; returns its size in bytes.

    Raises `UsageError` if another kind of file is in the way, `LbadvisorError` if it cannot be written.
    """
    check_picture_target(path)
    with warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes: no reason for lines on stderr.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure = figure_of(report)
        write_whole(
            path, lambda file: figure.savefig(file, format="png", metadata={"Software": f"lbadvisor {__version__}"})
        )
    return path.stat().st_size


def figure_of(report: Report) -> "Figure":
    """The report's charts as a figure of matplotlib."""
    from matplotlib.figure import Figure

    charts, headline = charts_of(report.curves), headline_of(report.comparison)
    looks = looks_of(len(report.curves))
    columns = max(min(COLUMNS, len(charts)), 1)
    rows = -(-len(charts) // columns) or 1
    width = max(CHART_INCHES[0] * columns, 6.0)
    title = textwrap.fill(f"{headline.number} {headline.caption}", int(width * 9))
    sentence = textwrap.fill(headline.sentence, int(width * 12))
    # Inches: what is written above, the charts, the legend below.
    above = 0.35 + 0.26 * (title.count("\n") + 1) + 0.19 * (sentence.count("\n") + 1)
    named = len(report.curves) <= NAMED_GROUPS
    entries = max(int(width // 2.2), 1)
    below = 0.2 + (0.24 * -(-len(report.curves) // entries) if named else 0)
    height = above + CHART_INCHES[1] * rows + below

    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(rect=(0.004, below / height, 0.99, 1 - (above + below) / height))  # type: ignore[union-attr, call-arg]
    # A user's words may hold dollar signs, which are no formula.
    figure.text(0.15 / width, 1 - 0.15 / height, title, va="top", size=14, weight="bold", parse_math=False)
    figure.text(
        0.15 / width,
        1 - (0.22 + 0.26 * (title.count("\n") + 1)) / height,
        sentence,
        va="top",
        size=9.5,
        color="#444444",
        parse_math=False,
    )
    logarithmic = far_apart(charts)
    for place, chart in enumerate(charts):
        axes = figure.add_subplot(rows, columns, place + 1)
        _draw(axes, chart, looks, logarithmic=logarithmic or chart.drawing.logarithmic_axis)
    if named and charts:
        _add_legend(figure, [group.label for group in report.curves], looks, entries)
    return figure


def _draw(axes: "Axes", chart: Chart, looks: Sequence[Look], *, logarithmic: bool) -> None:
    for curve, look in zip(chart.curves, looks, strict=True):
        if curve is None:
            continue
        mean, low, high = (
            [value * chart.quantity.factor for value in values] for values in (curve.mean, curve.low, curve.high)
        )
        if low != high:
            axes.fill_between(curve.update, low, high, color=look.light, alpha=0.15, linewidth=0)
        axes.plot(
            curve.update,
            mean,
            color=look.light,
            linewidth=1.4 if look.marker else 0.7,
            linestyle=_dashes(look),
            marker=MARKERS[look.marker],
            markersize=4.5,
            markevery=max(len(curve.update) // 8, 1),
        )
    unit = f", {chart.quantity.unit}" if chart.quantity.unit else ""
    axes.set_title(f"{chart.drawing.title}{unit}", loc="left", size=10, weight="bold")
    if chart.logarithmic_values:
        axes.set_yscale("log")
    if chart.from_zero:
        axes.set_ylim(bottom=0)
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xlabel("update (logarithmic)" if logarithmic else "update", size=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#E3E6EA", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _dashes(look: Look) -> tuple[float, tuple[float, ...]] | Literal["solid"]:
    if look.dashes == "none":
        return "solid"
    # Multiples of the line's width; the page has them in pixels.
    return 0, tuple(float(length) * 0.6 for length in look.dashes.split())


def _add_legend(figure: "Figure", labels: Sequence[str], looks: Sequence[Look], columns: int) -> None:
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=look.light, linestyle=_dashes(look), marker=MARKERS[look.marker], markersize=4.5)
        for look in looks
    ]
    # Labels are set afterwards: a legend leaves out those that begin with an underscore.
    legend = figure.legend(
        lines, ["-"] * len(lines), loc="lower left", ncols=columns, fontsize=9, frameon=False, handlelength=3.2
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_text(textwrap.shorten(label, 28, placeholder="…"))
