"""One sitting of a run: trained to its end, or stopped by a signal after it was saved."""

from typing import TYPE_CHECKING

import typer

from lbadvisor.runs.following import Stop, follow
from lbadvisor.runs.runner import RunRequest, Started, find_earlier, resume_point, train_run
from lbadvisor.runs.signals import STOPPED_BY_SIGNAL
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints, pruned, update_of

if TYPE_CHECKING:
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.runs.workspace import Workspace
    from lbadvisor.store import Store


def train_to_the_end(workspace: "Workspace", request: RunRequest, display: "Display", *, dry_run: bool) -> None:
    """Train the request's run and show how it ended; or only say what would be done.

    Raises `typer.Exit` with 75 if a signal stopped it.
    """
    store = workspace.store
    workspace.machine.check(request.recipe)
    earlier = find_earlier(store, request)
    if earlier is not None and earlier.status == "complete":
        display.show_result(store.results_of([earlier.number])[0], again=True)
        gone = pruned(store.checkpoint_folder(earlier), earlier)
        if gone is not None:
            display.show_note(gone)
    elif dry_run:
        saved_update, notes = (None, []) if earlier is None else resume_point(store, earlier)
        for note in notes:
            display.show_note(note)
        display.show_dry_run(workspace, request, saved_update)
    else:
        _train(workspace, request, display)
        run = store.run(request.name)
        display.show_clipping(run, store.measurements(run.number))
        display.show_result(store.results_of([run.number])[0], again=False)


def _train(workspace: "Workspace", request: RunRequest, display: "Display") -> None:
    with display.training() as shown:
        ended = follow(train_run(workspace, request), shown.show, begins=lambda event: isinstance(event, Started))
    if not isinstance(ended, Stop):
        return
    if ended.signal_name is None:
        display.show_interruption(request.name, _last_saved(workspace.store, request.name))
    else:
        display.show_stop(request.name, ended.signal_name, shown.update, shown.updates)
    raise typer.Exit(STOPPED_BY_SIGNAL)


def _last_saved(store: "Store", name: str) -> int | None:
    """The update of the newest checkpoint, None if the run was not begun."""
    run = store.find_run(name)
    found = [] if run is None else checkpoints(store.checkpoint_folder(run))
    return update_of(found[0]) if found else None
