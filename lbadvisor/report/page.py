"""A comparison's report as one HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lbadvisor.comparison.comparison import Spread
from lbadvisor.report import texts
from lbadvisor.report.answer import ArmRow, arms_of, differences_of, headline_of
from lbadvisor.report.appearance import looks_of
from lbadvisor.report.charts import charts_of, far_apart
from lbadvisor.report.contents import Report
from lbadvisor.report.rendering import numbered, rendered, write_text

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


def write_page(path: Path, report: Report) -> int:
    """Write the report to `path` as one HTML page; see `write_text`."""
    return write_text(path, page_of(report))


def page_of(report: Report) -> str:
    """The page's text."""
    charts, arms = charts_of(report.curves), arms_of(report.comparison)
    return rendered(
        "page.html.j2",
        charts,
        report.curves,
        title=report.title,
        report=report,
        headline=headline_of(report.comparison),
        arms=arms,
        differences=differences_of(report.comparison),
        looks=looks_of(len(arms)),
        far_apart=far_apart(charts),
        spans=_spans(arms),
        steps=len(arms) > 2,
        charts=numbered(charts),
        many=len(arms) > MANY_GROUPS,
        bands=any(group.runs > 1 for group in report.curves),
        thinned=any(curve.measured > len(curve.update) > 0 for group in report.curves for curve in group.curves),
    )


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
