"""`lbadvisor calibrate`: find the exponent at which the target batch moves the weights as far as the baseline."""

from typing import TYPE_CHECKING, Annotated

import typer

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words
from lbadvisor.records.numerals import counted

if TYPE_CHECKING:
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.diagnostics.calibration.calibration import Calibration
    from lbadvisor.diagnostics.calibration.short_runs import CalibrationRequest
    from lbadvisor.training.machine import Machine

DEFAULT_EXPONENTS = "-0.1,0.25,0.6"
"""If drift dominates, the answer is 0, which must not be at the edge."""


@command
def calibrate(
    words: Words,
    recipe: options.RecipeFile,
    *,
    target: options.Target = None,
    updates: Annotated[
        int | None,
        typer.Option(
            "--updates", metavar="N", min=1, help="Updates per run. Default: 5% of a training in total, from 20 to 320."
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option("--seeds", metavar="K", min=1, max=1000, help="Runs per exponent; two or more give an interval."),
    ] = 1,
    seed: options.FirstSeed = 0,
    exponents: Annotated[
        str, typer.Option("--exponents", metavar="A,B,...", help="Exponents to try for the target.")
    ] = DEFAULT_EXPONENTS,
    adapt: Annotated[
        str,
        typer.Option(
            "--adapt",
            metavar="PARTS",
            help="Parts to adapt; by default without clipping, which would bound the steps being compared.",
        ),
    ] = "lr,ghost,regime",
    rules: options.Rules,
    changes: options.Changes,
    machine: options.MachineOptions,
    as_json: options.AsJson = False,
    dry_run: options.DryProbe = False,
    quiet: options.Quiet = False,
) -> None:
    """Match weight distances in short runs of the baseline and of the target at a few exponents.

    For each window of updates, prints the exponent at which ||w_t - w_0|| equals the baseline's, and the exponent
    predicted by the measured gradient noise. Stores nothing.
    """
    from lbadvisor.cli.display.console import print_json, stdout
    from lbadvisor.cli.display.json_body import json_of
    from lbadvisor.cli.display.render_calibration import print_calibration
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.cli.options.adaptation import baseline_recipe, request_of
    from lbadvisor.cli.options.places import machine_of
    from lbadvisor.planning.baseline import baseline_of

    baseline = baseline_recipe(recipe, changes, words)
    request = request_of(options.Adapt(target=target, parts=adapt, rules=rules), words, baseline_of(baseline))
    display = Display(quiet=quiet)
    display.show_loading()

    from lbadvisor.diagnostics.calibration.calibration import default_updates
    from lbadvisor.diagnostics.calibration.short_runs import CalibrationRequest, check_calibration
    from lbadvisor.planning.plan import advise

    tried = numbers_of(exponents)
    plan = advise(baseline, request)
    length = plan.adapted.schedule.updates or 0
    asked = CalibrationRequest(
        baseline=baseline,
        request=request,
        exponents=tried,
        updates=updates or min(default_updates(length, len(tried), seeds, plan.batch_ratio), length),
        seeds=tuple(range(seed, seed + seeds)),
    )
    computer = machine_of(machine, words)
    check_calibration(computer, asked)
    show_price(asked, display)
    if dry_run:
        stdout().print("nothing was done")
        return
    found = run_calibration(computer, asked, display)
    if as_json:
        print_json({"schema": 1} | json_of(found))
    else:
        print_calibration(stdout(), found)


def show_price(asked: "CalibrationRequest", display: "Display") -> None:
    """Show what the calibration costs, before it starts."""
    display.show_line(
        f"calibrating {asked.baseline.name}, batch {asked.baseline.batch.size} -> {asked.request.target_batch_size}: "
        f"{asked.updates} updates at exponents {', '.join(f'{a:g}' for a in asked.exponents)}, "
        f"{counted(len(asked.seeds), 'seed')}: {asked.examples:,} examples, "
        f"{asked.share_percent:,.1f}% of the planned training"
    )


def run_calibration(machine: "Machine", asked: "CalibrationRequest", display: "Display") -> "Calibration":
    """Run it, and show how far it is."""
    from lbadvisor.cli.probing import follow_probe
    from lbadvisor.diagnostics.calibration.short_runs import calibrate as events_of

    return follow_probe(events_of(machine, asked), display)


def numbers_of(text: str) -> tuple[float, ...]:
    """The exponents in a list such as -0.1,0.25. Raises `UsageError`."""
    from lbadvisor.errors import UsageError

    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise UsageError(f"--exponents {text}: give numbers, such as {DEFAULT_EXPONENTS}") from None
