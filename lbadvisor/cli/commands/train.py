"""`lbadvisor train`: train a recipe as it is, or adapted to a larger batch; resumes a stopped run."""

from typing import Annotated

import typer

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words


@command
def train(
    words: Words,
    recipe: options.RecipeFile,
    *,
    adapt: options.Adapt,
    noise_scale: options.NoiseScaleText = None,
    changes: options.Changes,
    recompute_statistics: options.RecomputeStatistics = False,
    measure: options.MeasureToo = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the run. Default: derived from recipe, options and seed.")
    ] = None,
    seed: options.Seed = 0,
    machine: options.MachineOptions,
    shares: options.Shares = None,
    database: options.Database = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be trained, and do nothing.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a recipe; with --to, adapt it to a larger batch first. The same command resumes a stopped run.

    Ctrl-C finishes the update, saves, and exits with code 75. Runs are stored in the database; see `lbadvisor runs`.
    """
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.cli.options.adaptation import trained_recipe, with_requests
    from lbadvisor.cli.options.known_words import noise_scale_of
    from lbadvisor.cli.options.places import machine_of
    from lbadvisor.runs.databases import opened_to_train
    from lbadvisor.runs.names import checked_name, run_name_of
    from lbadvisor.runs.reuse import StoredName, name_of_training

    changes = with_requests(changes, measure, recomputed=recompute_statistics)
    plan, trained = trained_recipe(recipe, changes, adapt, words, database, noise_scale_of(noise_scale, database))
    default = run_name_of(trained, seed)
    # A given name identifies the run; otherwise the training's identity does, whatever its run is called.
    given = None if name is None else StoredName(checked_name(name, "run"))
    display = Display(quiet=quiet)
    with opened_to_train(database) as store:
        stored = given or name_of_training(store, trained, seed, default)
        if given is None:
            display.show_stored(stored, default)
        display.show_recipe(stored.name, trained, plan, seed)

        display.show_loading()
        # From here on torch is needed, which takes seconds to import.
        from lbadvisor.cli.session import train_to_the_end
        from lbadvisor.runs.runner import RunRequest
        from lbadvisor.runs.workspace import Workspace

        workspace = Workspace(store, machine_of(machine, words, shares=shares))
        train_to_the_end(workspace, RunRequest(trained, plan, stored.name, seed), display, dry_run=dry_run)
