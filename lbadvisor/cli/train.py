"""`lbadvisor train`: train a recipe, as it is or adapted to a larger batch, and go on where it stopped."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbadvisor.cli import options

if TYPE_CHECKING:
    from lbadvisor.advisor.recipe import Recipe


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe's file.")],
    target: options.Target = None,
    adapt: options.AdaptWithTarget = None,
    lr_rule: options.LrRule = "sqrt",
    ghost: options.Ghost = None,
    betas: options.Betas = "sde",
    weight_decay: options.WeightDecay = "keep",
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
    )
    run_name = _checked_name(name) if name is not None else _made_name(trained, seed)
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


def _checked_name(name: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from lbadvisor.advisor.recipe import Name
    from lbadvisor.errors import UsageError

    try:
        checked: str = TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise UsageError(
            f"{name!r} is no name for a run: letters, digits and . _ + - only, at most 100, a letter or digit first"
        ) from None
    if checked.isdigit():
        raise UsageError(f"{name!r} is no name for a run: numbers alone are the runs' numbers")
    return checked


def _made_name(recipe: "Recipe", seed: int) -> str:
    """Such as digits-32-s0, or digits-1024-lr+ghost-s0 for a recipe that was adapted in part."""
    words = [recipe.name, str(recipe.batch.size)]
    if recipe.adapted_from is not None:
        from lbadvisor.advisor.parts import PARTS

        parts = recipe.adapted_from.parts
        words.append("all" if parts == PARTS else "+".join(parts) or "none")
        if "lr" in parts and recipe.adapted_from.lr_rule != "sqrt":
            words.append(recipe.adapted_from.lr_rule.replace("=", ""))
    if recipe.compute.precision != "float32":
        words.append(recipe.compute.precision)
    if recipe.compute.tf32:
        words.append("tf32")
    if recipe.compute.compile:
        words.append("compiled")
    return "-".join([*words, f"s{seed}"])
