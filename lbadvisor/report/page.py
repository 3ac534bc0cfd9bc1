"""The report as one HTML page, which holds all that it shows: style, script, charts and their numbers."""

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from lbadvisor.comparison.comparison import Spread
from lbadvisor.report import texts
from lbadvisor.report.answer import ArmRow, arms_of, differences_of, headline_of
from lbadvisor.report.appearance import MARKERS, looks_of
from lbadvisor.report.charts import Chart, chart_data, charts_of, far_apart
from lbadvisor.report.contents import Report
from lbadvisor.report.writing import check_target, write_whole
from lbadvisor.version import __version__

MARK = b'<meta name="generator" content="lbadvisor '
MANY_GROUPS = 8
"""With more groups, tables have a row for each instead of a column."""


@dataclass(frozen=True, slots=True)
class Span:
    """Where an arm's accuracy lies in the table's drawing, from 0 to 100: its mean, and one deviation to each side."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Spans:
    """The drawing of all arms' accuracies, from `low` to `high` percent; None for an arm without one."""

    low: str
    high: str
    of: tuple[Span | None, ...]


@dataclass(frozen=True, slots=True)
class NumbersRow:
    """One arm of a chart in numbers, as text."""

    label: str
    first: str
    lowest: str
    highest: str
    last: str
    update: str


@dataclass(frozen=True, slots=True)
class NumberedChart:
    """A chart, with its numbers for readers who cannot see it."""

    chart: Chart
    rows: tuple[NumbersRow, ...]


def check_page_target(path: Path) -> None:
    """Raise if the page cannot be written to `path`: see `check_target`."""
    check_target(path, MARK)


def write_page(path: Path, report: Report) -> int:
    """Write the report to `path` as one HTML page, atomically; returns its size in bytes.

    Raises `UsageError` if another kind of file is in the way, `LbadvisorError` if it cannot be written.
    """
    check_page_target(path)
    body = page_of(report).encode()
    write_whole(path, lambda file: file.write(body))
    return len(body)


def page_of(report: Report) -> str:
    """The page's text."""
    charts, arms = charts_of(report.curves), arms_of(report.comparison)
    plotly, script = get_plotlyjs(), _template_text("page.js")
    # Every word of a user goes through the template's escaping or through JSON's; what is Markup here is our own.
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            headline=headline_of(report.comparison),
            arms=arms,
            differences=differences_of(report.comparison),
            version=__version__,
            looks=looks_of(len(arms)),
            far_apart=far_apart(charts),
            spans=_spans(arms),
            steps=len(arms) > 2,
            charts=[NumberedChart(chart, tuple(_rows(chart, report))) for chart in charts],
            many=len(arms) > MANY_GROUPS,
            bands=any(group.runs > 1 for group in report.curves),
            thinned=any(
                curve is not None and curve.measured > len(curve.update) for chart in charts for curve in chart.curves
            ),
            data=htmlsafe_json_dumps(chart_data(report.curves, charts), dumps=_dumps),
            style=Markup(_template_text("page.css")),
            plotly=Markup(plotly),
            script=Markup(script),
            policy=Markup(_policy((plotly, script))),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("lbadvisor.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": texts.number,
        "signed": texts.signed,
        "whole": texts.whole,
        "interval": texts.interval,
        "planned": texts.planned_value,
        "breakable": texts.breakable,
        "svg_marker": MARKERS.__getitem__,
    }
    return environment


def _template_text(name: str) -> str:
    return files("lbadvisor.report").joinpath("templates", name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy: these very scripts run and no other, and nothing is fetched from anywhere."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _dumps(value: object, **_: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _spans(arms: Sequence[ArmRow]) -> Spans | None:
    """The arms' accuracies on one scale; None if fewer than two are known."""
    known = [_ends(arm.accuracy) for arm in arms if arm.accuracy is not None]
    low, high = min((low for low, _ in known), default=0.0), max((high for _, high in known), default=0.0)
    if len(known) < 2 or low == high:
        return None

    def place(value: float) -> float:
        return round((value - low) / (high - low) * 100, 2)

    def span(accuracy: Spread) -> Span:
        left, right = _ends(accuracy)
        return Span(place(left), place(accuracy.mean), place(right))

    return Spans(
        texts.number(low, 1),
        texts.number(high, 1),
        tuple(None if arm.accuracy is None else span(arm.accuracy) for arm in arms),
    )


def _ends(accuracy: Spread) -> tuple[float, float]:
    deviation = accuracy.std or 0.0
    return accuracy.mean - deviation, accuracy.mean + deviation


def _rows(chart: Chart, report: Report) -> Iterator[NumbersRow]:
    for group, curve in zip(report.curves, chart.curves, strict=True):
        if curve is not None:
            first, lowest, highest, last = (
                f"{value * chart.quantity.factor:.4g}"
                for value in (curve.mean[0], min(curve.low), max(curve.high), curve.mean[-1])
            )
            yield NumbersRow(group.label, first, lowest, highest, last, texts.whole(curve.update[-1]))
