"""One sitting of a ladder: trained to its end, or stopped by a signal after the run in training was saved."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer
from rich.markup import escape

from lbadvisor.cli.display.console import print_json, say, stdout
from lbadvisor.cli.display.ladder_display import LadderDisplay
from lbadvisor.cli.display.render_ladder import ladder_csv, ladder_json, ladder_markdown, print_ladder
from lbadvisor.cli.display.reporting import command_line, write_reports
from lbadvisor.cli.follow import Stop, follow
from lbadvisor.cli.signals import STOPPED_BY_SIGNAL
from lbadvisor.runs.ladder import LadderRequest, RunBegins, planned_runs, train_ladder
from lbadvisor.runs.selection import Selection, compare_selection

if TYPE_CHECKING:
    from lbadvisor.runs.workspace import Workspace
    from lbadvisor.store import Store


Form = Literal["table", "json", "md", "csv"]


def train_ladder_to_the_end(workspace: "Workspace", request: LadderRequest, display: LadderDisplay) -> None:
    """Train what the ladder lacks. Raises `typer.Exit` with 75 if a signal stopped it."""
    runs = planned_runs(workspace.store, request)
    display.show_known(runs)
    with display.progress(workspace.store, runs) as shown:
        events = train_ladder(workspace, request)
        ended = follow(events, shown.show, begins=lambda event: isinstance(event, RunBegins))
    if not isinstance(ended, Stop) or (ended.signal_name is not None and shown.done == len(runs)):
        return
    if ended.signal_name is None:
        display.show_interruption(shown.current, shown.done, len(runs))
    else:
        display.show_stop(ended.signal_name, shown.current, shown.update, shown.done, len(runs))
    raise typer.Exit(STOPPED_BY_SIGNAL)


def show_results(store: "Store", request: LadderRequest, form: Form, html: Path | None, png: Path | None) -> None:
    """The arms' table on stdout, with its uncertainty and what may be concluded; page and picture where asked for.

    The runs are those that the request asks for, in the order of its arms: the ladder may have further arms and seeds.
    What may be concluded is of the last arm.
    """
    runs = planned_runs(store, request)
    order = [arm.arm.name for arm in request.arms]
    by_arm = sorted(runs, key=lambda planned: order.index(planned.arm.arm.name))
    found = [(planned.run, planned.arm.arm.label) for planned in by_arm if planned.run is not None]
    selection = Selection(tuple(run for run, _ in found), tuple((run.number, label) for run, label in found))
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
    write_reports(store, comparison, html, png, (command_line(),))


def show_dry_run(workspace: "Workspace", request: LadderRequest, *, as_json: bool) -> None:
    """On stdout, what would be trained and where; the arms' plans are shown already, unless as JSON."""
    runs = planned_runs(workspace.store, request)
    if as_json:
        print_json(ladder_json(request, runs, None))
        return
    left = [run for run in runs if not run.is_done]
    begun = sum(run.run is not None for run in left)
    say(
        stdout(),
        f"would train {len(left)} of {len(runs)} runs{f', {begun} of them already started,' if begun else ''} on "
        f"{workspace.machine.device.type}, data "
        f"{escape(str(workspace.machine.data_dir))}, database {escape(str(workspace.store.path))}; nothing was done",
    )
