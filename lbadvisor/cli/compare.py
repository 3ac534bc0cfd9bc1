"""`lbadvisor compare`: runs side by side, the first as the baseline."""

from typing import Annotated

import typer

from lbadvisor.cli.options import AsJson, Axis, Database
from lbadvisor.errors import UsageError


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="Runs, by name or number; the first is the baseline.")
    ],
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--md", help="Print GitHub tables.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print one row per run.")] = False,
    by: Annotated[Axis, typer.Option("--by", help="What the curve is drawn over.")] = Axis.EPOCH,
    curve: Annotated[bool, typer.Option("--curve/--no-curve", help="Draw evaluation accuracy.")] = True,
    database: Database = None,
) -> None:
    """Compare runs: what differs, how they ended, and how much of the generalization gap is closed.

    A difference is the run's value minus that of the first run. The generalization gap is the validation error of a
    run minus that of the first, in points: above 0, the run is worse.
    """
    import dataclasses

    from lbadvisor.advisor.compare import compare_runs
    from lbadvisor.cli.console import print_json, stdout
    from lbadvisor.cli.curves import draw_accuracy
    from lbadvisor.cli.render_comparison import csv_of, json_ready, markdown_of, print_comparison
    from lbadvisor.store import Store, default_database_path

    if as_json + as_markdown + as_csv > 1:
        raise UsageError("--json, --md and --csv exclude one another: give one")
    with Store.open(database or default_database_path(), create=False) as store:
        found = [store.run(name) for name in runs]
        recorded = [(run, store.measurements(run.number)) for run in found]
    comparison = compare_runs(recorded)
    if as_json:
        print_json({"schema": 1} | dataclasses.asdict(comparison, dict_factory=json_ready))
    elif as_markdown:
        print(markdown_of(comparison))  # noqa: T201
    elif as_csv:
        print(csv_of(comparison), end="")  # noqa: T201
    else:
        console = stdout()
        print_comparison(console, comparison)
        if curve:
            draw_accuracy(console, [(run.name, measurements) for run, measurements in recorded], by)
