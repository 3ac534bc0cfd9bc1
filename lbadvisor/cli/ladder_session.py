"""One sitting of a ladder: trained to its end, or stopped by a signal after the run in training was saved."""

import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer
from rich.markup import escape

from lbadvisor.cli.display.console import print_json, say, stdout
from lbadvisor.cli.display.ladder_display import LadderDisplay
from lbadvisor.cli.display.render_ladder import ladder_csv, ladder_json, ladder_markdown, print_ladder
from lbadvisor.cli.display.reporting import write_reports
from lbadvisor.cli.session import stored
from lbadvisor.cli.signals import STOPPED_BY_SIGNAL, Stopper
from lbadvisor.runs.ladder import LadderRequest, Progress, RunBegins, RunEnds, Waits, planned_runs, train_ladder
from lbadvisor.runs.selection import Selection, compare_selection
from lbadvisor.store import Store
from lbadvisor.training.data.dataset import Preparing

if TYPE_CHECKING:
    from lbadvisor.runs.ladder import PlannedRun


Form = Literal["table", "json", "md", "csv"]


def train_ladder_to_the_end(request: LadderRequest, display: LadderDisplay) -> None:
    """Train what the ladder lacks. Raises `typer.Exit` with 75 if a signal stopped it."""
    runs = planned_runs(request)
    display.show_known(runs)
    events = train_ladder(request)
    current: PlannedRun | None = None
    update, done, interrupted = None, 0, False
    with Stopper() as stopper, display.progress(runs) as show, closing(events):
        try:
            for event in events:
                match event:
                    case Preparing():
                        show.prepare(event)
                    case RunBegins():
                        show.begin(event)
                        current, update = event.planned, None
                        # A run that has started makes at least one update before it stops.
                        continue
                    case Progress():
                        show.advance(event)
                        update = event.update
                    case RunEnds():
                        show.end(event, stored(request.database, event.run.name)[1])
                        current, update, done = None, None, done + 1
                    case Waits():
                        show.wait(event)
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


def show_results(request: LadderRequest, form: Form, html: Path | None, png: Path | None) -> None:
    """The arms' table on stdout, with its uncertainty and what may be concluded; page and picture if requested.

    The runs are those that the request asks for, in the order of its arms: the ladder may have further arms and seeds.
    What may be concluded is of the last arm.
    """
    runs = planned_runs(request)
    order = [arm.arm.name for arm in request.arms]
    by_arm = sorted(runs, key=lambda planned: order.index(planned.arm.arm.name))
    found = [(planned.run, planned.arm.arm.label) for planned in by_arm if planned.run is not None]
    selection = Selection(tuple(run for run, _ in found), tuple((run.number, label) for run, label in found))
    with Store.open(request.database, create=False) as store:
        comparison = compare_selection(store, selection)
        match form:
            case "json":
                print_json(ladder_json(request, runs, comparison))
            case "md":
                print(ladder_markdown(comparison))  # noqa: T201
            case "csv":
                print(ladder_csv(comparison), end="")  # noqa: T201
            case "table":
                print_ladder(stdout(), comparison)
        write_reports(store, comparison, html, png, (shlex.join(["lbadvisor", *sys.argv[1:]]),))


def show_dry_run(request: LadderRequest, *, as_json: bool) -> None:
    """On stdout, what would be trained and where; the arms' plans are shown already, unless as JSON."""
    runs = planned_runs(request)
    if as_json:
        print_json(ladder_json(request, runs, None))
        return
    left = [run for run in runs if not run.is_done]
    begun = sum(run.run is not None for run in left)
    say(
        stdout(),
        f"would train {len(left)} of {len(runs)} runs{f', {begun} of them already started,' if begun else ''} on "
        f"{request.device.type}, data "
        f"{escape(str(request.data_dir))}, database {escape(str(request.database))}; nothing was done",
    )
