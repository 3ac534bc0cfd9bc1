"""What every HTML page holds: style, script, charts and their numbers, and a policy that lets nothing else in."""

import base64
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from lbadvisor.report import texts
from lbadvisor.report.appearance import MARKERS
from lbadvisor.report.charts import Chart, chart_data
from lbadvisor.report.curves import GroupCurves
from lbadvisor.report.writing import PAGE_MARK, check_target, write_whole
from lbadvisor.version import __version__


@dataclass(frozen=True, slots=True)
class NumbersRow:
    """One line of a chart in numbers, as text; `at` is where it ends."""

    label: str
    first: str
    lowest: str
    highest: str
    last: str
    at: str


@dataclass(frozen=True, slots=True)
class NumberedChart:
    """A chart, with its numbers for readers who cannot see it."""

    chart: Chart
    rows: tuple[NumbersRow, ...]


def write_text(path: Path, page: str) -> int:
    """Write the page's text to `path`, atomically; returns its size in bytes.

    Raises `UsageError` if another kind of file is in the way, `LbadvisorError` if it cannot be written.
    """
    check_target(path, PAGE_MARK)
    body = page.encode()
    write_whole(path, lambda file: file.write(body))
    return len(body)


def numbered(charts: Sequence[Chart]) -> list[NumberedChart]:
    """The charts with their numbers."""
    return [NumberedChart(chart, tuple(_rows(chart))) for chart in charts]


def rendered(template: str, drawn: Sequence[Chart], groups: Sequence[GroupCurves] = (), **content: object) -> str:
    """The text of a page that draws these charts in the places which its template has for them."""
    plotly, script = get_plotlyjs(), _template_text("page.js")
    # Every word of a user goes through the template's escaping or through JSON's; what is Markup here is our own.
    return (
        _environment()
        .get_template(template)
        .render(
            **content,
            version=__version__,
            drawn=drawn,
            data=htmlsafe_json_dumps(chart_data(drawn, groups), dumps=_dumps),
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


def _rows(chart: Chart) -> Iterator[NumbersRow]:
    for series in chart.graph.series:
        if not series.x:
            continue
        known = [value for value in (*series.y, *(series.low or ()), *(series.high or ())) if not math.isnan(value)]
        first, lowest, highest, last = (f"{value:.4g}" for value in (series.y[0], min(known), max(known), series.y[-1]))
        end = series.x[-1]
        yield NumbersRow(series.label, first, lowest, highest, last, texts.whole(end) if end % 1 == 0 else f"{end:.4g}")
