"""`lbadvisor train`: train a recipe, as it is or adapted to a larger batch, and go on where it stopped."""

from pathlib import Path
from typing import Annotated

import typer

from lbadvisor.cli import options


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe's file.")],
    target: options.Target = None,
    arm: options.ArmName = None,
    adapt: options.AdaptWithTarget = None,
    lr_rule: options.LrRule = "sqrt",
    ghost: options.Ghost = None,
    betas: options.Betas = "auto",
    weight_decay: options.WeightDecay = "auto",
    stretch_share: options.StretchShare = 1.0,
    schedule_scale: options.ScheduleScale = 1.0,
    overrides: options.Overrides = None,
    recompute_statistics: options.RecomputeStatistics = False,
    name: Annotated[str | None, typer.Option("--name", help="The run's name; made from the rest if not given.")] = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    precision: options.Precision = None,
    micro: options.Micro = None,
    database: options.Database = None,
    data_dir: options.DataDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be trained, and do nothing.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a recipe; with --to, adapted to a larger batch first. The same command again goes on where it stopped.

    Ctrl-C finishes the update, saves, and exits 75. Runs are kept in the database; see `lbadvisor runs`.
    """
    from lbadvisor.cli.adaptation import trained_recipe
    from lbadvisor.cli.names import checked_name, run_name_of
    from lbadvisor.cli.train_display import Display

    plan, trained = trained_recipe(
        recipe,
        options.replacements(overrides, precision, recompute_statistics=recompute_statistics),
        schedule_scale,
        target,
        adapt,
        lr_rule,
        ghost,
        betas,
        weight_decay,
        arm=arm,
        stretch_share=stretch_share,
    )
    run_name = checked_name(name, "run") if name is not None else run_name_of(trained, seed)
    display = Display(quiet=quiet)
    display.show_recipe(run_name, trained, plan, seed)

    # From here on torch is needed, which takes seconds to import.
    from lbadvisor.cli.session import micro_size, train_to_the_end
    from lbadvisor.runner import RunRequest, chosen_device, find_earlier
    from lbadvisor.store import default_database_path
    from lbadvisor.training.data import default_data_dir

    request = RunRequest(
        recipe=trained,
        plan=plan,
        name=run_name,
        seed=seed,
        device=chosen_device(device),
        database=database or default_database_path(),
        data_dir=data_dir or default_data_dir(),
        micro=micro_size(micro),
    )
    train_to_the_end(request, find_earlier(request), display, dry_run=dry_run)
