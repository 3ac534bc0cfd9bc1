"""`lbadvisor plan`: what a larger batch changes, why, and at what cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words

if TYPE_CHECKING:
    from lbadvisor.plan.baseline import Baseline


@dataclass(frozen=True, slots=True)
class Numbers:
    """The known numbers of a baseline without a recipe."""

    batch_size: Annotated[int | None, typer.Option("--from", min=1, metavar="B", help="Baseline batch size.")] = None
    lr: Annotated[float | None, typer.Option("--lr", help="Baseline learning rate (with --from).")] = None
    epochs: Annotated[float | None, typer.Option("--epochs", help="Baseline length in epochs (with --from).")] = None
    examples: Annotated[int | None, typer.Option("--examples", help="Training examples (with --from).")] = None
    optimizer: Annotated[
        str, typer.Option("--optimizer", help="sgd, adam, adamw, rmsprop or adagrad (with --from).")
    ] = "sgd"
    momentum: Annotated[float | None, typer.Option("--momentum", help="Momentum (with --from).")] = None
    beta1: Annotated[float | None, typer.Option("--beta1", help="Beta1 (with --from).")] = None
    beta2: Annotated[float | None, typer.Option("--beta2", help="Beta2, RMSprop's alpha (with --from).")] = None
    epsilon: Annotated[float | None, typer.Option("--epsilon", help="Epsilon (with --from).")] = None
    weight_decay_value: Annotated[
        float | None, typer.Option("--weight-decay-value", help="Weight decay (with --from).")
    ] = None

    def baseline(self, batch_size: int) -> "Baseline":
        """The baseline at `batch_size`. Raises `PlanError` for an impossible number."""
        from lbadvisor.plan.baseline import baseline_of_numbers

        return baseline_of_numbers(
            batch_size,
            self.lr,
            self.epochs,
            self.examples,
            self.optimizer,
            momentum=self.momentum,
            beta1=self.beta1,
            beta2=self.beta2,
            epsilon=self.epsilon,
            weight_decay=self.weight_decay_value,
        )


@command
def plan(
    words: Words,
    recipe: Annotated[
        Path | None, typer.Argument(help="Recipe file; without one, give --from.", metavar="[RECIPE]")
    ] = None,
    *,
    numbers: Numbers,
    adapt: options.Adapt,
    changes: options.Changes,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the adapted recipe to this file.")
    ] = None,
    database: options.Database = None,
    force: Annotated[bool, typer.Option("--force", help="Let --out overwrite a file.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show what a larger batch changes: each line old -> new with formula and source, then what it costs.

    `lbadvisor plan --from 128 --to 4096` needs no recipe; add --lr, --epochs and --examples for absolute numbers.
    Optimizer settings that are not given default to torch's.
    """
    from lbadvisor.cli.display.console import print_json
    from lbadvisor.cli.display.render_plan import print_plan
    from lbadvisor.cli.options.adaptation import (
        arm_or_request_of,
        baseline_recipe,
        planned_from,
        target_of,
        write_recipe,
    )
    from lbadvisor.cli.output import check_out
    from lbadvisor.errors import UsageError
    from lbadvisor.plan.plan import advise_numbers, numbers_body, plan_body

    target_of(adapt.target)
    if out is not None:
        check_out(out, force=force, source=recipe)
    if recipe is not None:
        baseline = baseline_recipe(recipe, changes, words)
        made = planned_from(baseline, adapt, words, database)
        if out is not None:
            write_recipe(out, made)
        if as_json:
            print_json(plan_body(made))
        else:
            print_plan(made, baseline.name)
    elif numbers.batch_size is not None:
        known = numbers.baseline(numbers.batch_size)
        of_numbers = advise_numbers(known, arm_or_request_of(adapt, words, known))
        if as_json:
            print_json(numbers_body(of_numbers))
        else:
            print_plan(of_numbers)
    else:
        raise UsageError("give a recipe, or the baseline batch size: --from B")
