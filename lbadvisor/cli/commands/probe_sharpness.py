"""`lbadvisor probe sharpness`: how sharp the minima of runs are, beside their accuracy."""

from typing import Annotated

import typer

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words
from lbadvisor.cli.options.effects import TrainedOn, refuse_without_effect


@command
def sharpness(
    words: Words,
    runs: options.RunNames,
    *,
    where: options.Where = None,
    epsilon: Annotated[
        float, typer.Option("--epsilon", metavar="E", min=1e-9, max=1, help="Size of the box of Keskar's measure.")
    ] = 1e-3,
    examples: options.ProbedExamples = None,
    device: options.Device = "auto",
    data_dir: options.DataDir = None,
    allow_code: options.AllowCode = False,
    database: options.Database = None,
    dry_run: options.DryProbe = False,
    shown: options.Shown,
) -> None:
    """Measure how sharp the minima of runs, or of a ladder's arms, are, and compare that with their accuracy.

    By Keskar's measure, the largest loss in a small box around the weights, and by the largest eigenvalue of the
    Hessian, which also gives the largest stable learning rate. Needs the runs' checkpoints. Stores nothing.
    """
    from lbadvisor.cli.display.reporting import check_reports
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.cli.options.places import machine_of
    from lbadvisor.comparison.conditions import parse_condition
    from lbadvisor.runs.databases import opened

    check_reports(shown.html, shown.png)
    conditions = [parse_condition(text) for text in where or ()]
    display = Display(quiet=shown.quiet)
    display.show_loading()

    from lbadvisor.cli.probing import show_probe
    from lbadvisor.diagnostics.landscape.landscape import default_examples
    from lbadvisor.diagnostics.landscape.minima import diagnosis_of_minima
    from lbadvisor.diagnostics.planned import PlannedDiagnostic
    from lbadvisor.records.numerals import counted
    from lbadvisor.runs.probed_minima import check_minima, probe_minima
    from lbadvisor.runs.selection import select

    with opened(database) as store:
        selection = select(store, runs, conditions)
        size = examples or (default_examples(selection.runs[0].recipe) if selection.runs else 0)
        check_minima(store, selection, size)
        refuse_without_effect(words, TrainedOn.of(selection.runs[0].recipe))
        asked = options.MachineOptions(device=device, data_dir=data_dir)
        machine = machine_of(asked, words, allow_code=allow_code)
        cost = (
            f"probing {counted(len(selection.runs), 'run')} on {size:,} training examples: for each about 15 "
            "gradients and 20 products with the Hessian, at 2 to 3 times the cost of a gradient"
        )
        events = probe_minima(store, machine, selection, size, epsilon)
        show_probe(PlannedDiagnostic(cost, events, diagnosis_of_minima), display, shown, dry_run=dry_run)
