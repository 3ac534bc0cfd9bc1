"""One sitting of a run: trained to its end, or stopped by a signal after it was saved."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from lbadvisor.cli.signals import STOPPED_BY_SIGNAL, Stopper
from lbadvisor.errors import UsageError
from lbadvisor.runs.runner import Progress, Started, checkpoint_folder, resume_point, train_run
from lbadvisor.store import Store
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints, pruned, update_of
from lbadvisor.training.data.dataset import Preparing

if TYPE_CHECKING:
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.records.run import Measurement, Run
    from lbadvisor.runs.runner import RunRequest


def train_to_the_end(request: "RunRequest", earlier: "Run | None", display: "Display", *, dry_run: bool) -> None:
    """Train the request's run, of which `earlier` is stored, and show how it ended; or only show what would be done.

    Raises `typer.Exit` with 75 if a signal stopped it.
    """
    if earlier is not None and earlier.status == "complete":
        display.show_result(*stored(request.database, earlier.name), again=True)
        gone = pruned(checkpoint_folder(request.database, earlier), earlier)
        if gone is not None:
            display.show_note(gone)
    elif dry_run:
        saved_update, notes = (None, []) if earlier is None else resume_point(request.database, earlier)
        for note in notes:
            display.show_note(note)
        display.show_dry_run(request, saved_update)
    else:
        _train(request, display)
        run, measurements = stored(request.database, request.name)
        display.show_clipping(run, measurements)
        display.show_result(run, measurements, again=False)


def stored(database: Path, name: str) -> tuple["Run", "list[Measurement]"]:
    """The run of that name, and its measurements."""
    with Store.open(database, create=False) as store:
        run = store.run(name)
        return run, store.measurements(run.number)


def micro_size(text: str | None) -> int | Literal["auto"] | None:
    """What `--micro` says. Raises `UsageError`."""
    if text is None:
        return None
    if text == "auto":
        return "auto"
    # Python itself refuses to read more than a few thousand digits.
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise UsageError(f"--micro {text[:40]}: give a number of examples, or auto")
    return int(text)


def _train(request: "RunRequest", display: "Display") -> None:
    events, update = train_run(request), None
    # However it ends, a terminal that is closed among the ways, the run is saved.
    with Stopper() as stopper, display.progress() as show, closing(events):
        try:
            for event in events:
                match event:
                    case Preparing():
                        show.prepare(event)
                    case Started():
                        # A run that has started makes at least one update before it stops.
                        show.start(event)
                        updates = event.run.updates
                        continue
                    case Progress():
                        show.advance(event)
                        update = event.update
                if stopper.signal_name is not None:
                    # Closing the run saves it.
                    events.close()
                    break
        except KeyboardInterrupt:
            # Between two updates closing still saves the run; within one, the last checkpoint holds.
            events.close()
            interrupted = True
        else:
            interrupted = False
    if interrupted:
        display.show_interruption(request.name, _last_saved(request))
        raise typer.Exit(STOPPED_BY_SIGNAL)
    if stopper.signal_name is not None:
        display.show_stop(request.name, stopper.signal_name, update, updates if update is not None else None)
        raise typer.Exit(STOPPED_BY_SIGNAL)


def _last_saved(request: "RunRequest") -> int | None:
    """The update of the newest checkpoint, None if the run was not begun."""
    if not request.database.exists():
        return None
    with Store.open(request.database, create=False) as store:
        run = store.find_run(request.name)
    found = [] if run is None else checkpoints(checkpoint_folder(request.database, run))
    return update_of(found[0]) if found else None
