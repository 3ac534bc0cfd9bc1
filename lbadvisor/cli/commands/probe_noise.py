"""`lbadvisor probe noise`: the gradient noise scale of stored runs or of a recipe, and what it says of batch sizes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbadvisor.cli.options import completion
from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words
from lbadvisor.records.numerals import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lbadvisor.diagnostics.noise.noise_findings import NoiseFindings
    from lbadvisor.diagnostics.noise.noise_probe import NoiseRequest
    from lbadvisor.store import Store


@command
def noise(
    words: Words,
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE|RUN...",
            help="A recipe file, or runs that differ only in their seed.",
            autocompletion=completion.recipes_or_runs,
        ),
    ],
    *,
    target: options.Target = None,
    updates: Annotated[
        int | None,
        typer.Option("--updates", metavar="N", min=1, help="Of a recipe: updates to train. Default: 5%, 20 to 320."),
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="K", min=1, max=1000, help="Of a recipe: trainings.")] = 1,
    seed: options.FirstSeed = 0,
    changes: options.Changes,
    device: options.Device = "auto",
    data_dir: options.DataDir = None,
    database: options.Database = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Of a recipe: show the cost, and do nothing.")] = False,
    shown: options.Shown,
) -> None:
    """Show the gradient noise scale, the critical batch size, and what they predict of a larger batch.

    For runs trained with --measure noise, from what they read; for a recipe, by measuring it along the first updates of
    a training, of which nothing is stored. It predicts speed, not generalization.
    """
    from lbadvisor.cli.display.reporting import check_reports
    from lbadvisor.cli.options.command_line import names_recipe
    from lbadvisor.cli.options.places import machine_of
    from lbadvisor.diagnostics.noise.noise_findings import noise_diagnosis
    from lbadvisor.runs.databases import opened

    check_reports(shown.html, shown.png)
    if not names_recipe(words):
        from lbadvisor.cli.display.diagnosis_display import show_diagnosis

        with opened(database) as store:
            found = _findings_of(store, source, target)
        show_diagnosis(found, noise_diagnosis(found), shown)
        return
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.cli.options.adaptation import baseline_recipe

    recipe = baseline_recipe(Path(source[0]), changes, words)
    display = Display(quiet=shown.quiet)
    display.show_loading()

    from lbadvisor.cli.probing import show_probe
    from lbadvisor.diagnostics.noise.noise_probe import NoiseRequest, default_length, measure_noise
    from lbadvisor.diagnostics.planned import PlannedDiagnostic

    length = updates or default_length(recipe, seeds)
    asked = NoiseRequest(recipe, target, length, tuple(range(seed, seed + seeds)))
    computer = machine_of(options.MachineOptions(device, None, data_dir), words)
    computer.check(recipe)
    probe = PlannedDiagnostic(_price(asked), measure_noise(computer, asked), noise_diagnosis)
    show_probe(probe, display, shown, dry_run=dry_run)


def _findings_of(store: "Store", names: "Sequence[str]", target: int | None) -> "NoiseFindings":
    """The findings of stored runs. Raises `UsageError` if they are not seeds of one training."""
    from lbadvisor.diagnostics.noise.noise_estimate import stored_moments
    from lbadvisor.diagnostics.noise.noise_findings import noise_findings
    from lbadvisor.errors import UsageError
    from lbadvisor.recipe.identity import digest_of
    from lbadvisor.runs.selection import select

    runs = select(store, names).runs
    if len({digest_of(run.recipe) for run in runs}) > 1:
        raise UsageError(
            f"{', '.join(names)}: these {len(runs)} runs differ in more than their seed, so they have no noise scale "
            "in common: name runs of one recipe"
        )
    source = ", ".join(run.name for run in runs)
    return noise_findings(source, runs[0].recipe.batch.size, target, stored_moments(store, runs))


def _price(asked: "NoiseRequest") -> str:
    return (
        f"measuring {asked.recipe.name}, batch {asked.recipe.batch.size}: {asked.updates} updates, the noise after "
        f"{len(asked.points)} of them from {asked.units} batches of {asked.unit}, "
        f"{counted(len(asked.seeds), 'seed')}: {asked.examples:,} examples"
    )
