"""`lbadvisor runs`: the runs of the database, and all that is known of one."""

from typing import Annotated

import typer

from lbadvisor.advisor.records import RunStatus
from lbadvisor.cli.options import AsJson, Database
from lbadvisor.errors import UsageError

LAST_MEASUREMENTS = 10

runs = typer.Typer(name="runs", invoke_without_command=True, help="List the runs, or show one.")


@runs.callback()
def list_runs(
    context: typer.Context,
    as_json: AsJson = False,
    status: Annotated[RunStatus | None, typer.Option("--status", help="Only the runs that stand so.")] = None,
    database: Database = None,
) -> None:
    """List the runs, the oldest first."""
    if context.invoked_subcommand is not None:
        if as_json or status or database:
            raise UsageError(f"options of `runs {context.invoked_subcommand}` are given after its name")
        return
    import dataclasses

    from lbadvisor.advisor.compare import summary_of
    from lbadvisor.cli.console import print_json, stdout
    from lbadvisor.cli.render_comparison import json_ready
    from lbadvisor.cli.render_runs import runs_table
    from lbadvisor.store import Store, default_database_path

    with Store.open(database or default_database_path(), create=False) as store:
        found = [run for run in store.runs() if status is None or run.status is status]
        summaries = [summary_of(run, store.measurements(run.number)) for run in found]
    if as_json:
        rows = [dataclasses.asdict(summary, dict_factory=json_ready) for summary in summaries]
        print_json({"schema": 1, "runs": rows})
    else:
        stdout().print(runs_table(summaries))


@runs.command("show")
def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, by name or number.")],
    as_json: AsJson = False,
    measurements: Annotated[
        bool, typer.Option("--measurements", help=f"All measurements, not the last {LAST_MEASUREMENTS} only.")
    ] = False,
    database: Database = None,
) -> None:
    """Show a run: where it stands, what it ran on, its recipe and its measurements."""
    import dataclasses

    from lbadvisor.cli.console import print_json, stdout
    from lbadvisor.cli.render_comparison import json_ready
    from lbadvisor.cli.render_runs import print_run
    from lbadvisor.store import Store, default_database_path

    with Store.open(database or default_database_path(), create=False) as store:
        found = store.run(run)
        measured = store.measurements(found.number)
    shown = measured if measurements else measured[-LAST_MEASUREMENTS:]
    if as_json:
        print_json(
            {
                "schema": 1,
                "run": dataclasses.asdict(found, dict_factory=json_ready),
                "measurements": [dataclasses.asdict(m, dict_factory=json_ready) for m in shown],
            }
        )
    else:
        print_run(stdout(), found, measured, shown)
