"""`lbadvisor compare`: compare runs and ladders; the first is the baseline."""

from typing import Annotated

import typer

from lbadvisor.cli.options import completion
from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.errors import UsageError
from lbadvisor.records.axis import Axis


@command
def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN RUN...",
            help="Runs by name or number, or ladders; the first is the baseline.",
            autocompletion=completion.runs_or_ladders,
        ),
    ] = None,
    where: options.Where = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="COLUMNS",
            autocompletion=completion.columns,
            help="Metrics to show, such as: best accuracy, update of best, accuracy at 5000, weight distance.",
        ),
    ] = None,
    by: Annotated[Axis, typer.Option("--by", help="Axis of the curve, and of `at` in --columns.")] = Axis.UPDATE,
    curve: Annotated[bool, typer.Option("--curve/--no-curve", help="Draw the evaluation accuracy.")] = True,
    html: options.HtmlPage = None,
    png: options.PngPicture = None,
    as_json: options.AsJson = False,
    as_markdown: options.AsMarkdown = False,
    as_csv: options.AsCsv = False,
    database: options.Database = None,
) -> None:
    """Compare runs or whole ladders: what differs, how they ended, how much of the generalization gap is closed.

    Runs that differ only in their seed form a group, shown as mean ± standard deviation. A difference is the group's
    value minus the first group's. The generalization gap is the group's validation error minus the first group's, in
    points: above 0, the group is worse. A step is the accuracy gained over the group before. Intervals pair runs by
    seed; * marks a difference that holds after Holm's correction. With --where and no RUN, compares all matching runs.
    """
    from lbadvisor.cli.display.console import print_json, stdout
    from lbadvisor.cli.display.json_body import json_of
    from lbadvisor.cli.display.render_comparison import csv_of, markdown_of, print_comparison
    from lbadvisor.cli.display.reporting import check_reports, write_reports
    from lbadvisor.cli.display.terminal_curves import draw_groups
    from lbadvisor.comparison.column_words import parse_columns
    from lbadvisor.comparison.conditions import parse_condition
    from lbadvisor.runs.databases import opened
    from lbadvisor.runs.selection import compare_selection, select

    if not runs and not where:
        raise UsageError("name at least two runs or a ladder, or select runs with --where; `lbadvisor runs` lists them")
    wanted = parse_columns(columns, by) if columns is not None else ()
    conditions = [parse_condition(text) for text in where or ()]
    check_reports(html, png)
    with opened(database) as store:
        comparison = compare_selection(store, select(store, runs or (), conditions), wanted)
        if as_json:
            print_json({"schema": 1} | json_of(comparison))
        elif as_markdown:
            print(markdown_of(comparison))  # noqa: T201
        elif as_csv:
            print(csv_of(comparison), end="")  # noqa: T201
        else:
            console = stdout()
            print_comparison(console, comparison)
            if curve:
                draw_groups(console, store, comparison, by)
        write_reports(store, comparison, html, png)
