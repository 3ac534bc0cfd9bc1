"""Shows what a diagnostic found: on the console or as JSON, and as a page and a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from lbadvisor.cli.display.console import print_json, say, stderr, stdout
from lbadvisor.cli.display.json_body import json_of
from lbadvisor.cli.display.reporting import command_line, written
from lbadvisor.cli.display.table import Heading, Table, print_table
from lbadvisor.cli.display.terminal_graph import draw_graph

if TYPE_CHECKING:
    from lbadvisor.cli.options.words import Shown
    from lbadvisor.records.diagnosis import Diagnosis, Grid


def show_diagnosis(value: Any, diagnosis: "Diagnosis", shown: "Shown") -> None:
    """Show the diagnostic's `value`, as JSON, or else its `diagnosis`; write the page and the picture asked for.

    A probe's command calls `check_reports(shown.html, shown.png)` before its work, and this at its end.
    """
    if shown.as_json:
        print_json({"schema": 1} | diagnosis_body(value, diagnosis))
    else:
        print_diagnosis(stdout(), diagnosis, chart=shown.chart)
    write_diagnoses(diagnosis.title, (diagnosis,), shown)


def diagnosis_body(value: Any, diagnosis: "Diagnosis") -> dict[str, Any]:
    """The diagnostic's value as JSON has it, nothing if it is None, with the sentences on it."""
    return ({} if value is None else json_of(value)) | {
        "conclusion": diagnosis.conclusion,
        "caveats": list(diagnosis.caveats),
    }


def print_diagnosis(console: Console, diagnosis: "Diagnosis", *, chart: bool) -> None:
    """Print title, graphs, tables and caveats, and last the conclusion."""
    say(console, Text(diagnosis.title, style="bold"))
    if chart:
        for graph in diagnosis.graphs:
            draw_graph(console, graph)
    for grid in diagnosis.grids:
        print_table(console, table_of(grid), grid.title)
    for caveat in diagnosis.caveats:
        say(console, Text(f"note: {caveat}"))
    say(console, Text(diagnosis.conclusion))


def print_conclusions(console: Console, diagnoses: "Sequence[Diagnosis]") -> None:
    """Print the conclusion of each diagnosis below its title."""
    for place, diagnosis in enumerate(diagnoses):
        say(console, Text("\n" * (place > 0) + diagnosis.title, style="bold"))
        say(console, Text(diagnosis.conclusion))


def table_of(grid: "Grid") -> Table:
    """The grid as a table; the last of its columns is left out first where there is no room for all."""
    headings = (
        Heading(title, "number" if form else "name" if place == 0 else "prose", rank=place)
        for place, (title, form) in enumerate(zip(grid.headings, grid.formats, strict=True))
    )
    return Table(tuple(headings), grid.texts)


def write_diagnoses(title: str, diagnoses: "Sequence[Diagnosis]", shown: "Shown") -> None:
    """Write the page and the picture, those that have a path, and say so on stderr unless it is to be quiet.

    Raises `UsageError` if another file is in the way and `LbadvisorError` if one cannot be written.
    """
    sizes: dict[Path, int] = {}
    if shown.html is not None:
        from lbadvisor.report.diagnosis_page import diagnoses_page
        from lbadvisor.report.rendering import write_text

        sizes[shown.html] = write_text(shown.html, diagnoses_page(title, diagnoses, (command_line(),)))
    if shown.png is not None:
        from lbadvisor.report.panels import write_panels
        from lbadvisor.report.picture import panels_of

        sizes[shown.png] = write_panels(shown.png, panels_of(diagnoses))
    for path, size_bytes in sizes.items():
        if not shown.quiet:
            say(stderr(), Text(written(path, size_bytes)))
