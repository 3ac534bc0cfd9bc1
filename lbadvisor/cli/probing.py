"""One sitting of a probe: its cost, how far it is, and what it found."""

from collections.abc import Generator
from typing import TYPE_CHECKING

from lbadvisor.cli.display.console import stdout
from lbadvisor.cli.display.diagnosis_display import show_diagnosis
from lbadvisor.cli.display.progress import step_of
from lbadvisor.runs.following import Result, follow_unsaved

if TYPE_CHECKING:
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.cli.options.words import Shown
    from lbadvisor.diagnostics.advance import Advance
    from lbadvisor.diagnostics.planned import PlannedDiagnostic
    from lbadvisor.training.data.dataset import Preparing


def follow_probe(events: "Generator[Preparing | Advance, None, Result]", display: "Display") -> Result:
    """`follow_unsaved` for a diagnostic, whose advance the display shows."""
    with display.progress() as progress:
        return follow_unsaved(events, lambda event: progress.show(step_of(event)))


def show_probe(probe: "PlannedDiagnostic", display: "Display", shown: "Shown", *, dry_run: bool) -> None:
    """Show what the probe costs, and unless that is all, make it and show what it found."""
    display.show_line(probe.cost)
    if dry_run:
        stdout().print("nothing was done")
        return
    found = follow_probe(probe.events, display)
    show_diagnosis(found, probe.diagnosis_of(found), shown)
