"""`lbadvisor runs export`: measurements for other programs, as text or in what they keep runs in."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.runs.databases import database_file, opened

if TYPE_CHECKING:
    from lbadvisor.diagnostics.advance import Advance
    from lbadvisor.runs.selection import Selection
    from lbadvisor.store import Store


@command
def export(
    names: options.RunNamesOrAll = None,
    where: options.Where = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="File to write. Default: stdout.")
    ] = None,
    as_json: options.AsJson = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE if it exists.")] = False,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            "--tensorboard", metavar="DIR", help="Write event files of TensorBoard, in a folder for each run."
        ),
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option("--mlflow", metavar="URI|DIR", help="Write to an MLflow server, or to mlflow.db in a folder."),
    ] = None,
    database: options.Database = None,
) -> None:
    """Print all measurements of runs as comma-separated values, one row each; with --json, as one object.

    The object also has the readings, of what was measured by --measure. With --tensorboard or --mlflow they are written
    for these, with the update as the step; writing them again replaces them, and doubles nothing.
    """
    from lbadvisor.cli.display.render_export import csv_lines, json_lines
    from lbadvisor.cli.output import check_out
    from lbadvisor.comparison.conditions import parse_condition
    from lbadvisor.errors import LbadvisorError
    from lbadvisor.files import write_atomically
    from lbadvisor.runs.selection import select

    conditions = [parse_condition(text) for text in where or ()]
    if out is not None:
        check_out(out, force=force, source=database_file(database))
    with opened(database) as store:
        selection = select(store, names or (), conditions)
        if tensorboard is not None or mlflow is not None:
            _track(store, selection, tensorboard, mlflow)
            return
        lines = (json_lines if as_json else csv_lines)(store, selection)
        if out is None:
            for line in lines:
                sys.stdout.write(line)
            return
        try:
            write_atomically(out, lambda file: file.writelines(line.encode() for line in lines))
        except OSError as error:
            raise LbadvisorError(f"{out} cannot be written: {error.strerror or error}") from error


def _track(store: "Store", selection: "Selection", tensorboard: Path | None, mlflow: str | None) -> None:
    from lbadvisor.cli.display.console import say, stderr
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.cli.probing import follow_probe
    from lbadvisor.records.numerals import counted
    from lbadvisor.trackers.event_files import write_events
    from lbadvisor.trackers.mlflow_runs import tracking_uri_of, write_to_mlflow

    def written() -> "Iterator[Advance]":
        for run in selection.runs:
            if tensorboard is not None:
                yield from write_events(store, run, tensorboard)
            if mlflow is not None:
                yield from write_to_mlflow(store, run, mlflow)

    follow_probe((advance for advance in written()), Display(quiet=False))
    what = counted(len(selection.runs), "run")
    if tensorboard is not None:
        say(stderr(), escape(f"wrote {what} to {tensorboard}: `tensorboard --logdir {tensorboard}` shows them"))
    if mlflow is not None:
        shown = f"`mlflow ui --backend-store-uri {tracking_uri_of(mlflow)}` shows them"
        say(stderr(), escape(f"wrote {what} to MLflow at {mlflow}: {shown}"))
