"""One sitting of a probe: its cost, how far it is, and what it found."""

from typing import TYPE_CHECKING

from lbadvisor.cli.display.console import stdout
from lbadvisor.cli.display.diagnosis_display import show_diagnosis
from lbadvisor.cli.follow import follow_probe

if TYPE_CHECKING:
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.cli.options.words import Shown
    from lbadvisor.diagnostics.planned import PlannedDiagnostic


def show_probe(probe: "PlannedDiagnostic", display: "Display", shown: "Shown", *, dry_run: bool) -> None:
    """Show what the probe costs, and unless that is all, make it and show what it found."""
    display.show_line(probe.cost)
    if dry_run:
        stdout().print("nothing was done")
        return
    found = follow_probe(probe.events, display)
    show_diagnosis(found, probe.diagnosis_of(found), shown)
