"""`lbadvisor plan`: what a larger batch changes, with reasons and price."""

from pathlib import Path
from typing import Annotated

import typer

from lbadvisor.cli import options


def plan(
    recipe: Annotated[
        Path | None, typer.Argument(help="A recipe; without one, give --from.", metavar="[RECIPE]")
    ] = None,
    target: options.Target = None,
    batch_size: Annotated[int | None, typer.Option("--from", min=1, metavar="B", help="Baseline batch size.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Baseline learning rate (with --from).")] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", help="Baseline length in epochs (with --from).")] = None,
    examples: Annotated[int | None, typer.Option("--examples", help="Training examples (with --from).")] = None,
    optimizer: Annotated[
        str | None, typer.Option("--optimizer", help="sgd, adam, adamw, rmsprop or adagrad (with --from).")
    ] = None,
    arm: options.ArmName = None,
    adapt: options.Adapt = None,
    lr_rule: options.LrRule = "sqrt",
    ghost: options.Ghost = None,
    betas: options.Betas = "auto",
    weight_decay: options.WeightDecay = "auto",
    stretch_share: options.StretchShare = 1.0,
    schedule_scale: options.ScheduleScale = 1.0,
    overrides: options.Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the adapted recipe here.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --out replace a file.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show what a larger batch changes: each line old -> new with formula and source, then what it costs.

    `lbadvisor plan --from 128 --to 4096` needs no recipe; with --lr, --epochs, --examples it gives absolute numbers.
    """
    from lbadvisor.advisor.baseline import baseline_of_numbers
    from lbadvisor.advisor.plan import advise, advise_numbers, plan_body
    from lbadvisor.cli.adaptation import arm_or_request_of, baseline_recipe, write_recipe
    from lbadvisor.cli.console import print_json
    from lbadvisor.cli.render_plan import print_plan
    from lbadvisor.errors import UsageError

    if target is None:
        raise UsageError("give the target batch size: --to B")
    request = arm_or_request_of(
        target, adapt, lr_rule, ghost, betas, weight_decay, arm=arm, stretch_share=stretch_share
    )
    if request is None:
        raise UsageError(f"the arm {arm} is the baseline itself: there is nothing to plan")
    numbers = {"--from": batch_size, "--lr": lr, "--epochs": epochs, "--examples": examples, "--optimizer": optimizer}
    if recipe is not None:
        given = [name for name, value in numbers.items() if value is not None]
        if given:
            raise UsageError(f"{given[0]} belongs to a plan without a recipe: change the recipe with --set instead")
        made = advise(baseline_recipe(recipe, overrides, schedule_scale), request)
    else:
        if batch_size is None:
            raise UsageError("give a recipe, or the baseline batch size: --from B")
        if out is not None or overrides:
            raise UsageError(f"{'--out' if out else '--set'} needs a recipe")
        made = advise_numbers(baseline_of_numbers(batch_size, lr, epochs, examples, optimizer or "sgd"), request)
    if out is not None and made.adapted is not None:
        write_recipe(out, made, force=force)
    if as_json:
        print_json(plan_body(made))
    else:
        print_plan(made)
