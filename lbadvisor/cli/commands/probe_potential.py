"""`lbadvisor probe potential`: the exponent with which the loss varies along random directions."""

from typing import Annotated

import typer

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words


@command
def potential(
    words: Words,
    recipe: options.RecipeFile,
    *,
    distance: Annotated[
        float | None,
        typer.Option(
            "--distance",
            metavar="D",
            min=1e-6,
            help="Largest distance. Default: that of a stored run of the recipe, else of a short training.",
        ),
    ] = None,
    directions: Annotated[
        int, typer.Option("--directions", metavar="K", min=4, help="Random directions from each start.")
    ] = 16,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="K", min=1, max=1000, help="Starts: each has its own initial weights.")
    ] = 3,
    seed: options.FirstSeed = 0,
    examples: options.ProbedExamples = None,
    changes: options.Changes,
    device: options.Device = "auto",
    data_dir: options.DataDir = None,
    database: options.Database = None,
    dry_run: options.DryProbe = False,
    shown: options.Shown,
) -> None:
    """Measure the exponent alpha of the paper's random potential around the recipe's initial weights.

    Walks from them along random directions and fits how the standard deviation of the loss grows with the distance:
    d^gamma, alpha = 2 gamma. Stores nothing.
    """
    from lbadvisor.cli.display.reporting import check_reports
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.cli.options.adaptation import baseline_recipe
    from lbadvisor.cli.options.places import machine_of
    from lbadvisor.runs.databases import opened_to_train

    probed = baseline_recipe(recipe, changes, words)
    check_reports(shown.html, shown.png)
    display = Display(quiet=shown.quiet)
    display.show_loading()

    from lbadvisor.cli.probing import show_probe
    from lbadvisor.diagnostics.landscape.landscape import default_examples
    from lbadvisor.diagnostics.landscape.potential import Reach, diagnosis_of_potential
    from lbadvisor.diagnostics.landscape.random_walks import PotentialRequest, probe_potential
    from lbadvisor.diagnostics.planned import PlannedDiagnostic
    from lbadvisor.runs.farthest_run import farthest_run

    with opened_to_train(database) as store:
        reach = Reach(distance, "as asked") if distance is not None else farthest_run(store, probed)
    asked = PotentialRequest(
        recipe=probed,
        examples=default_examples(probed) if examples is None else examples,
        seeds=tuple(range(seed, seed + seeds)),
        directions=directions,
        reach=reach,
    )
    machine = machine_of(options.MachineOptions(device=device, data_dir=data_dir), words)
    first = f"{asked.updates} updates, then " if asked.updates else ""
    to = f"up to the distance {reach.distance:.3g}, {reach.source}" if reach else "as far as those go"
    cost = f"probing {probed.name}: {first}{asked.losses:,} times the loss of {asked.examples:,} examples, {to}"
    probe = PlannedDiagnostic(cost, probe_potential(machine, asked), diagnosis_of_potential)
    show_probe(probe, display, shown, dry_run=dry_run)
