"""A sweep over batch sizes, as tables and graphs, a GitHub table, CSV and JSON."""

from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import TYPE_CHECKING, Any, Literal

from lbadvisor.cli.display.comma_separated import csv_text
from lbadvisor.cli.display.console import print_json, stdout
from lbadvisor.cli.display.diagnosis_display import print_diagnosis, table_of, write_diagnoses
from lbadvisor.cli.display.json_body import json_of
from lbadvisor.cli.display.table import markdown
from lbadvisor.comparison.sweep import Sweep, SweepPoint
from lbadvisor.comparison.sweep_diagnosis import diagnosis_of_sweep

if TYPE_CHECKING:
    from lbadvisor.cli.options.words import Shown

Form = Literal["table", "json", "md", "csv"]


def show_sweep(sweep: Sweep, ladders: Sequence[dict[str, Any]], form: Form, shown: "Shown") -> None:
    """The sweep on stdout, and the page and the picture asked for; `ladders` are what its JSON says of each ladder."""
    diagnosis = diagnosis_of_sweep(sweep)
    match form:
        case "json":
            print_json({"schema": 1, "sweep": json_of(sweep), "ladders": ladders})
        case "md":
            lines = [line for grid in diagnosis.grids for line in markdown(table_of(grid))]
            print("\n".join([*lines, diagnosis.conclusion]))  # noqa: T201
        case "csv":
            print(_csv(sweep), end="")  # noqa: T201
        case "table":
            print_diagnosis(stdout(), diagnosis, chart=shown.chart)
    write_diagnoses(diagnosis.title, (diagnosis,), shown)


def _csv(sweep: Sweep) -> str:
    """One row per arm and batch size, in full precision; a value that is not known is empty."""
    return csv_text([[field.name for field in fields(SweepPoint)], *map(astuple, sweep.points)])
