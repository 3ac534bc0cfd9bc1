"""The loop of a probe, with its advance on the display."""

from collections.abc import Generator
from typing import TYPE_CHECKING

from lbadvisor.runs.following import Result, follow_unsaved

if TYPE_CHECKING:
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.diagnostics.advance import Advance
    from lbadvisor.training.data.dataset import Preparing


def follow_probe(events: "Generator[Preparing | Advance, None, Result]", display: "Display") -> Result:
    """`follow_unsaved` for a diagnostic, whose advance the display shows."""
    from lbadvisor.cli.display.progress import step_of

    with display.progress() as progress:
        return follow_unsaved(events, lambda event: progress.show(step_of(event)))
