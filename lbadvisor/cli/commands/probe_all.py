"""`lbadvisor probe all`: every diagnostic of runs, on one page."""

from typing import Annotated

import typer

from lbadvisor.cli.options import completion
from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words


@command
def everything(
    words: Words,
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", help="Runs of one baseline, or ladders of it.", autocompletion=completion.runs_or_ladders
        ),
    ],
    *,
    machine: options.MachineOptions,
    allow_code: options.AllowCode = False,
    database: options.Database = None,
    html: options.HtmlPage = None,
    as_json: options.AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cost of each, and do nothing.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure all of the paper's theory on runs or a ladder: every probe, at a modest cost, on one page.

    Of the runs themselves: how their weights diffuse, and how sharp the minima are that up to three runs of each recipe
    found. Of the baseline behind them, and the batch size that it was adapted to: random potential, gradient noise, and
    the covariance of the weight increment. What cannot be measured is named with its reason. Stores nothing.
    """
    from lbadvisor.cli.display.console import print_json, stdout
    from lbadvisor.cli.display.diagnosis_display import diagnosis_body, print_conclusions, write_diagnoses
    from lbadvisor.cli.display.reporting import check_reports
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.cli.options.effects import TrainedOn, refuse_without_effect
    from lbadvisor.cli.options.places import machine_of
    from lbadvisor.runs.databases import opened

    check_reports(html, None)
    display = Display(quiet=quiet)
    with opened(database) as store:
        from lbadvisor.runs.subject import subject_of

        subject = subject_of(store, runs)
        refuse_without_effect(words, TrainedOn.of(subject.baseline))
        display.show_loading()

        from lbadvisor.cli.probing import follow_probe
        from lbadvisor.runs.examination import examine, planned
        from lbadvisor.runs.workspace import Workspace

        plans = planned(Workspace(store, machine_of(machine, words, allow_code=allow_code)), subject)
        for name, plan in plans.items():
            display.show_line(f"{name}: {plan.cost}")
        if dry_run:
            stdout().print("nothing was done")
            return
        findings = follow_probe(examine(plans), display)
    if as_json:
        bodies = {one.name: diagnosis_body(one.value, one.diagnosis) for one in findings}
        print_json({"schema": 1} | bodies)
    else:
        print_conclusions(stdout(), [one.diagnosis for one in findings])
    title = f"The paper's theory, measured on {', '.join(runs)}"
    write_diagnoses(title, [one.diagnosis for one in findings], options.Shown(html=html, quiet=quiet))
