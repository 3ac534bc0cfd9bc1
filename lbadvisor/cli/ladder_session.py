"""One sitting of a ladder: trained to its end, or stopped by a signal after the run in training was saved."""

from typing import TYPE_CHECKING

import typer

from lbadvisor.cli.ladder_display import LadderDisplay
from lbadvisor.cli.session import STOPPED_BY_SIGNAL, stored
from lbadvisor.cli.signals import Stopper
from lbadvisor.ladder import LadderRequest, Progress, RunBegins, RunEnds, planned_runs, train_ladder
from lbadvisor.training.dataset import Preparing

if TYPE_CHECKING:
    from lbadvisor.ladder import PlannedRun


def train_to_the_end(request: LadderRequest, display: LadderDisplay) -> None:
    """Train what the ladder lacks. Raises `typer.Exit` with 75 where a signal stopped it."""
    runs = planned_runs(request)
    display.show_known(runs)
    events = train_ladder(request)
    current: PlannedRun | None = None
    update, done, interrupted = None, 0, False
    with Stopper() as stopper, display.progress(runs) as show:
        try:
            for event in events:
                match event:
                    case Preparing():
                        show.prepare(event)
                    case RunBegins():
                        show.begin(event)
                        current, update = event.planned, None
                        # A run that was begun makes an update before it stops.
                        continue
                    case Progress():
                        show.advance(event)
                        update = event.update
                    case RunEnds():
                        show.end(event, stored(request.database, event.run.name)[1])
                        current, update, done = None, None, done + 1
                if stopper.signal_name is not None:
                    # Closing the ladder saves the run in training.
                    events.close()
                    break
        except KeyboardInterrupt:
            events.close()
            interrupted = True
    if interrupted:
        display.show_interruption(current, done, len(runs))
        raise typer.Exit(STOPPED_BY_SIGNAL)
    if stopper.signal_name is not None and done < len(runs):
        display.show_stop(stopper.signal_name, current, update, done, len(runs))
        raise typer.Exit(STOPPED_BY_SIGNAL)
