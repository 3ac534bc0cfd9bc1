"""The charts of a report, or of diagnoses, as one PNG picture, for a paper or a chat."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lbadvisor.records.diagnosis import Diagnosis
from lbadvisor.report.answer import headline_of
from lbadvisor.report.appearance import looks_of
from lbadvisor.report.charts import charts_of, diagnosis_charts, far_apart
from lbadvisor.report.contents import Report
from lbadvisor.report.panels import Panel, figure_of_panels, write_panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED_GROUPS = 24
"""More groups are drawn without a legend, which would be larger than the charts."""


def write_picture(path: Path, report: Report) -> int:
    """Write the report's charts over updates to `path`: see `write_panels`."""
    return write_panels(path, [_panel(report)])


def figure_of(report: Report) -> "Figure":
    """The report's charts as a figure of matplotlib."""
    return figure_of_panels([_panel(report)])


def _panel(report: Report) -> Panel:
    charts, headline = charts_of(report.curves), headline_of(report.comparison)
    if far_apart(charts):
        charts = tuple(replace(chart, graph=replace(chart.graph, logarithmic_x=True)) for chart in charts)
    labels = [group.label for group in report.curves]
    named = labels if charts and len(labels) <= NAMED_GROUPS else []
    shared = tuple(zip(named, looks_of(len(labels)), strict=False))
    return Panel(
        f"{headline.number} {headline.caption}", headline.sentence, charts, 3, chart_inches=(4.4, 3.2), shared=shared
    )


def panels_of(diagnoses: Sequence[Diagnosis]) -> list[Panel]:
    """A panel for each diagnosis: its title, its conclusion and its graphs."""
    return [
        Panel(diagnosis.title, diagnosis.conclusion, diagnosis_charts(diagnosis), columns=2, chart_inches=(6.0, 4.6))
        for diagnosis in diagnoses
    ]
