"""`lbadvisor verify-resume`: prove, with a real kill, that a resumed run ends with the same bits."""

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
    ranks: Annotated[
        int,
        typer.Option("--ranks", metavar="N", min=1, help="Train each run as N ranks, as torchrun starts them here."),
    ] = 1,
    adapt: options.Adapt,
    changes: options.Changes,
    seed: options.Seed = 0,
    machine: options.MachineOptions,
    shares: options.Shares = None,
    database: options.Database = None,
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
    from lbadvisor.cli.display.json_body import json_of
    from lbadvisor.cli.display.render_proof import proof_step, proof_text
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.cli.options.adaptation import trained_recipe
    from lbadvisor.cli.options.places import machine_of
    from lbadvisor.errors import NotIdenticalError

    _, trained = trained_recipe(recipe, changes, adapt, words, database)

    display = Display(quiet=quiet)
    display.show_loading()
    # From here on torch is needed, which takes seconds to import.
    from lbadvisor.runs.following import follow_unsaved
    from lbadvisor.runs.resume_proof import prove

    events = prove(machine_of(machine, words, shares=shares), trained, seed, updates, kill_at, ranks)
    with display.progress() as shown:
        proof = follow_unsaved(events, lambda event: shown.show(proof_step(event)))
    if as_json:
        print_json({"schema": 1, "identical": proof.difference is None} | json_of(proof))
        raise typer.Exit(0 if proof.difference is None else 1)
    if proof.difference is not None:
        raise NotIdenticalError(proof_text(proof))
    say(stdout(), escape(proof_text(proof)))
