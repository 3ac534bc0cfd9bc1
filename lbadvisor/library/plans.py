"""`lbadvisor.plan`: the advisor for people who have a trainer."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

from lbadvisor.errors import PlanError
from lbadvisor.library.options import BaselineNumbers, PlanOptions, baseline_by, request_by, split_keywords
from lbadvisor.planning.baseline import baseline_of
from lbadvisor.planning.numbers_plan import NumbersPlan
from lbadvisor.planning.option_needs import Planned, refuse_idle
from lbadvisor.planning.plan import Plan, advise, advise_numbers

if TYPE_CHECKING:
    from lbadvisor.recipe.recipe import Recipe


class NumbersAndOptions(BaselineNumbers, PlanOptions, total=False):
    """The keywords of `plan` without a recipe."""


@overload
def plan(recipe: "Recipe | Path | str", *, to: int, **options: Unpack[PlanOptions]) -> Plan: ...
@overload
def plan(*, batch_size: int, to: int, **numbers: Unpack[NumbersAndOptions]) -> NumbersPlan: ...
def plan(
    recipe: "Recipe | Path | str | None" = None, *, to: int, batch_size: int | None = None, **given: Any
) -> NumbersPlan:
    """What changes if a training moves to batches of `to` examples: each line old -> new, with rule and source.

    The baseline is a recipe (or the path of its TOML file), or is given by its numbers: `batch_size`, and as many of
    `BaselineNumbers` as are known. `PlanOptions` are the options of `lbadvisor plan`, with its defaults: the adaptation
    of Hoffer et al. 2017 (arXiv:1705.08741).

        >>> import lbadvisor
        >>> plan = lbadvisor.plan(batch_size=128, to=4096, lr=0.1, optimizer="sgd", updates=78_125, examples=50_000)
        >>> round(plan.lr, 4), plan.updates, plan.epochs, plan.ghost_batch_size
        (0.5657, 78125, 6400.0, 128)
        >>> round(plan.clipping.max_norm, 4), plan.clipping.updates
        (0.8839, 391)

    Loads no torch. Raises `PlanError` if a rule cannot be applied or an option has no effect, `RecipeError` or
    `UsageError` if the file cannot be read, and `RefusedError` for a recipe that is adapted already.
    """
    numbers, options = split_keywords("plan", given)
    request = request_by(to, options)
    if recipe is None:
        if batch_size is None:
            raise PlanError("give a recipe, or the baseline batch size: batch_size=")
        baseline = baseline_by(batch_size, numbers)
        refuse_idle(options, Planned(baseline, (request,)))
        return advise_numbers(baseline, request)
    of_numbers = (["batch_size"] if batch_size is not None else []) + list(numbers)
    if of_numbers:
        raise PlanError(
            f"{of_numbers[0]}= belongs to a plan without a recipe: change the recipe instead, as in "
            'load_recipe("r.toml", ["optimizer.lr=0.2"])'
        )
    recipe = loaded(recipe)
    refuse_idle(options, Planned(baseline_of(recipe), (request,)))
    return advise(recipe, request)


def loaded(recipe: "Recipe | Path | str") -> "Recipe":
    """The recipe, read from its file if it is a path. Raises `RecipeError` and `UsageError`."""
    if isinstance(recipe, str | Path):
        from lbadvisor.recipe.file import load_recipe

        return load_recipe(recipe)
    return recipe
