"""One sitting of ladders: trained to their end, or stopped by a signal after the run in training was saved."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from lbadvisor.cli.display.console import print_json, say, stdout
from lbadvisor.cli.display.ladder_display import LadderDisplay
from lbadvisor.cli.display.render_ladder import ladder_csv, ladder_json, ladder_markdown, print_ladder
from lbadvisor.cli.display.render_sweep import Form, show_sweep
from lbadvisor.cli.display.reporting import write_reports
from lbadvisor.comparison.sweep import sweep_of
from lbadvisor.planning.planned_arms import LadderRequest
from lbadvisor.runs.following import Stop, follow
from lbadvisor.runs.jobs import Asked, Crew, begins_a_run
from lbadvisor.runs.ladder import failure_of
from lbadvisor.runs.ladder_runs import compare_ladder, planned_runs
from lbadvisor.runs.signals import STOPPED_BY_SIGNAL

if TYPE_CHECKING:
    from lbadvisor.cli.options.words import Shown
    from lbadvisor.runs.workspace import Workspace
    from lbadvisor.store import Store


def train_runs(
    workspace: "Workspace", crew: Crew, asked: Asked, requests: Sequence[LadderRequest], display: LadderDisplay
) -> None:
    """Have the crew train runs of the ladders. Raises `typer.Exit` with 75 if a signal stopped it.

    Raises `LbadvisorError` for runs that failed, once all others are trained.
    """
    store = workspace.store
    runs = planned_runs(store, *requests)
    display.show_known(runs)
    needed = crew.needed_for(sum(not run.is_done for run in runs))
    display.of_runs.show_crew(crew, needed, workspace.machine.threads)
    with display.progress(store, runs) as shown:
        ended = follow(needed.events(workspace, asked), shown.show, begins=lambda told: begins_a_run(told[1]))
    if isinstance(ended, Stop):
        runs = planned_runs(store, *requests)
        done = sum(run.is_done for run in runs)
        if done < len(runs):
            stopped = [run.run for run in runs if run.run is not None and run.name in shown.begun and not run.is_done]
            display.show_stop(ended.signal_name, stopped, done, len(runs))
            raise typer.Exit(STOPPED_BY_SIGNAL)
    if shown.failed:
        raise failure_of(shown.failed)


def show_results(store: "Store", requests: Sequence[LadderRequest], form: Form, shown: "Shown") -> None:
    """On stdout, the arms' table of one ladder, or error and gap of several against the batch size; and the reports."""
    comparisons = tuple(compare_ladder(store, request) for request in requests)
    if len(requests) > 1:
        show_sweep(sweep_of(comparisons), _bodies(store, requests), form, shown)
        return
    (request,), (comparison,) = requests, comparisons
    match form:
        case "json":
            print_json({"schema": 1} | ladder_json(request, planned_runs(store, request), comparison))
        case "md":
            print(ladder_markdown(comparison))  # noqa: T201
        case "csv":
            print(ladder_csv(comparison), end="")  # noqa: T201
        case "table":
            print_ladder(stdout(), comparison)
    write_reports(store, comparison, shown.html, shown.png)


def _bodies(store: "Store", requests: Sequence[LadderRequest]) -> list[dict[str, Any]]:
    """The ladders as JSON, without what comparing them says."""
    runs = planned_runs(store, *requests)
    return [
        ladder_json(request, [run for run in runs if any(request.name == place.ladder for place in run.places)], None)
        for request in requests
    ]


def show_dry_run(workspace: "Workspace", crew: Crew, requests: Sequence[LadderRequest], *, as_json: bool) -> None:
    """On stdout, what would be trained and where; the arms' plans are shown already, unless as JSON."""
    runs = planned_runs(workspace.store, *requests)
    if as_json:
        bodies = _bodies(workspace.store, requests)
        print_json({"schema": 1} | (bodies[0] if len(bodies) == 1 else {"sweep": None, "ladders": bodies}))
        return
    left = [run for run in runs if not run.is_done]
    begun = sum(run.run is not None for run in left)
    say(
        stdout(),
        f"would train {len(left)} of {len(runs)} runs{f', {begun} of them already started,' if begun else ''} on "
        f"{crew.needed_for(len(left)).text(workspace.machine.threads)}, data "
        f"{escape(str(workspace.machine.data_dir))}, database {escape(str(workspace.store.address))}; nothing was done",
    )
