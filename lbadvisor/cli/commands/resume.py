"""`lbadvisor resume`: resume a stored run by name or number."""

from typing import Annotated

import typer

from lbadvisor.cli.options import completion
from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words


@command
def resume(
    words: Words,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name or number of a run.", autocompletion=completion.runs)],
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu or cuda. Default: where the run started.")
    ] = None,
    micro: options.Micro = None,
    shares: options.Shares = None,
    measure: options.MeasureToo = None,
    allow_code: options.AllowCode = False,
    database: options.Database = None,
    data_dir: options.DataDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be trained, and do nothing.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Resume a stored run where it stopped, with its recipe and seed from the database.

    Ctrl-C finishes the update, saves, and exits with code 75, as in `lbadvisor train`.
    """
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.cli.options.adaptation import also_measured
    from lbadvisor.cli.options.effects import TrainedOn, refuse_without_effect
    from lbadvisor.cli.options.places import machine_of
    from lbadvisor.errors import RefusedError
    from lbadvisor.recipe.schedule import measuring
    from lbadvisor.runs.databases import opened

    with opened(database) as store:
        found = store.run(run)
        if found.recipe.recorded is not None:
            trainer = found.recipe.recorded.program
            raise RefusedError(f"the run {found.name} was trained by {trainer}: resume it there")
        refuse_without_effect(words, TrainedOn.of(found.recipe))
        display = Display(quiet=quiet)
        display.show_recipe(found.name, found.recipe, None, found.seed)
        display.show_loading()
        # From here on torch is needed, which takes seconds to import.
        from lbadvisor.cli.session import train_to_the_end
        from lbadvisor.runs.runner import RunRequest
        from lbadvisor.runs.workspace import Workspace

        asked = options.MachineOptions(device or found.environment.device, micro, data_dir)
        machine = machine_of(asked, words, allow_code=allow_code, shares=shares)
        recipe = found.recipe if measure is None else measuring(found.recipe, also_measured(measure))
        request = RunRequest(recipe, None, found.name, found.seed)
        train_to_the_end(Workspace(store, machine), request, display, dry_run=dry_run)
