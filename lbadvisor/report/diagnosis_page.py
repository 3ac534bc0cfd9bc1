"""What diagnostics found, as one HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass

from lbadvisor.records.diagnosis import Diagnosis
from lbadvisor.report.charts import diagnosis_charts
from lbadvisor.report.rendering import NumberedChart, numbered, rendered


@dataclass(frozen=True, slots=True)
class Section:
    """One diagnosis of the page, with its graphs as charts."""

    diagnosis: Diagnosis
    charts: tuple[NumberedChart, ...]


def diagnoses_page(title: str, diagnoses: Sequence[Diagnosis], commands: Sequence[str]) -> str:
    """The page's text: a section for each diagnosis, contents if there are several, and the `commands` that made it."""
    charts = [diagnosis_charts(diagnosis, part) for part, diagnosis in enumerate(diagnoses, start=1)]
    sections = [Section(diagnosis, tuple(numbered(own))) for diagnosis, own in zip(diagnoses, charts, strict=True)]
    drawn = [chart for own in charts for chart in own]
    return rendered("diagnoses.html.j2", drawn, title=title, sections=sections, commands=commands)
