"""`lbadvisor verify-resume`: prove, with a real kill, that a resumed run ends with the same bits."""

from pathlib import Path
from typing import Annotated

import typer

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words


@command
def verify_resume(
    words: Words,
    recipe: options.RecipeFile,
    *,
    updates: Annotated[
        int | None,
        typer.Option("--updates", metavar="N", min=2, help="Train the recipe's first N updates, twice. Default: 24."),
    ] = None,
    kill_at: Annotated[
        int | None,
        typer.Option("--at", metavar="K", min=1, help="Kill one of the runs after update K. Default: halfway."),
    ] = None,
    adapt: options.Adapt,
    changes: options.Changes,
    seed: options.Seed = 0,
    machine: options.Machine,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Prove that a killed and resumed run ends with the same bits as an uninterrupted one.

    Trains the first updates of the recipe twice on your data and device. One of the two runs is killed (-9) mid-epoch
    and resumed by a new process. Works in a temporary folder and leaves your database alone. Compares the measurements
    and every tensor of model, optimizer and averages; exits with code 1 if anything differs.
    """
    from rich.markup import escape

    from lbadvisor.cli.display.console import print_json, say, stdout
    from lbadvisor.cli.display.render_proof import proof_json, proof_text, show_part
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.cli.options.adaptation import trained_recipe
    from lbadvisor.errors import NotIdenticalError

    _, trained = trained_recipe(recipe, changes, adapt, words)

    Display(quiet=quiet).show_loading()
    # From here on torch is needed, which takes seconds to import.
    from lbadvisor.cli.session import micro_size
    from lbadvisor.cli.signals import interrupted_by_all
    from lbadvisor.runs.resume_proof import ResumeProof, prove
    from lbadvisor.runs.runner import RunRequest, chosen_device
    from lbadvisor.training.data.preparation import default_data_dir

    request = RunRequest(
        recipe=trained,
        plan=None,
        name="proof",
        seed=seed,
        device=chosen_device(machine.device),
        database=Path("proof.db"),
        data_dir=machine.data_dir or default_data_dir(),
        micro=micro_size(machine.micro),
    )
    with interrupted_by_all(), show_part(quiet=quiet) as show:
        for event in prove(request, updates, kill_at):
            if isinstance(event, ResumeProof):
                proof = event
            else:
                show(event)
    if as_json:
        print_json(proof_json(proof))
        raise typer.Exit(0 if proof.difference is None else 1)
    if proof.difference is not None:
        raise NotIdenticalError(proof_text(proof))
    say(stdout(), escape(proof_text(proof)))
