"""`lbadvisor probe covariance`: what each rule makes of the covariance of the weight increment."""

from typing import TYPE_CHECKING, Annotated

import typer

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words

if TYPE_CHECKING:
    from lbadvisor.diagnostics.covariance.increments import CovarianceRequest


@command
def covariance(
    words: Words,
    recipe: options.RecipeFile,
    *,
    target: options.Target = None,
    ghost: options.Ghost = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="U,...",
            help="Updates of the baseline after which to look. Default: 0, and a tenth of the training up to 1000.",
        ),
    ] = None,
    batches: Annotated[
        int, typer.Option("--batches", metavar="K", min=8, help="Batches drawn of each kind, at each point.")
    ] = 48,
    seed: options.Seed = 0,
    changes: options.Changes,
    machine: options.MachineOptions,
    shown: options.Shown,
    dry_run: options.DryProbe = False,
) -> None:
    """Compare the covariance of the target's weight increments with the baseline's, for each learning-rate rule.

    At the same weights, draws batches of both sizes, with ghost and with plain batch norm, and with multiplicative
    noise. Stores nothing. Plain batch norm is never cut into micro-batches.
    """
    from lbadvisor.cli.display.reporting import check_reports
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.cli.options.adaptation import baseline_recipe, request_by, target_of
    from lbadvisor.cli.options.effects import refuse_without_effect
    from lbadvisor.cli.options.places import machine_of
    from lbadvisor.planning.baseline import baseline_of
    from lbadvisor.planning.option_needs import Planned

    check_reports(shown.html, shown.png)
    baseline = baseline_recipe(recipe, changes, words)
    request = request_by(options.Rules(ghost=ghost), target_of(target), ("ghost",))
    refuse_without_effect(words, Planned(baseline_of(baseline), (request,)))
    display = Display(quiet=shown.quiet)
    display.show_loading()

    from lbadvisor.cli.probing import show_probe
    from lbadvisor.diagnostics.covariance.covariance_diagnosis import covariance_diagnosis
    from lbadvisor.diagnostics.covariance.increments import CovarianceRequest, default_points, probe_covariance
    from lbadvisor.diagnostics.planned import PlannedDiagnostic

    points = default_points(baseline) if at is None else updates_of(at)
    asked = CovarianceRequest(baseline, request, points, batches, seed)
    events = probe_covariance(machine_of(machine, words), asked)
    show_probe(PlannedDiagnostic(price_text(asked), events, covariance_diagnosis), display, shown, dry_run=dry_run)


def price_text(asked: "CovarianceRequest") -> str:
    """What the probe costs, before it starts."""
    recipe = asked.baseline
    epochs = asked.examples / recipe.data.train_examples
    return (
        f"probing {recipe.name}, batch {recipe.batch.size:,} -> {asked.request.target_batch_size:,}: {asked.batches} "
        f"batches of {len(asked.variants)} kinds after {', '.join(f'{u:,}' for u in asked.updates)} updates: "
        f"{asked.examples:,} examples, {epochs:,.3g} times the training set"
    )


def updates_of(text: str) -> tuple[int, ...]:
    """The numbers of updates in a list such as 0,200. Raises `UsageError`."""
    from lbadvisor.errors import UsageError

    words = text.split(",")
    if not all(word.strip().isdecimal() and len(word) < 20 for word in words):
        raise UsageError(f"--at {text[:40]}: give numbers of updates, such as 0,200")
    return tuple(int(word) for word in words)
