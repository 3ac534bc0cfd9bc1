"""Names of runs and ladders: checked if given, otherwise derived."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lbadvisor.planning.request import Request
    from lbadvisor.recipe.recipe import Recipe


def checked_name(name: str, what: str) -> str:
    """`name`, if it can name a run or a ladder (`what`). Raises `UsageError` otherwise."""
    from pydantic import TypeAdapter, ValidationError

    from lbadvisor.errors import UsageError
    from lbadvisor.recipe.recipe_model import Name

    try:
        checked: str = TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise UsageError(
            f"{name!r} cannot name a {what}: use at most 100 letters, digits and . _ + -, starting with a letter or "
            "digit"
        ) from None
    if checked.isdigit():
        raise UsageError(f"{name!r} cannot name a {what}: a plain number is a run's number")
    return checked


def run_name_of(recipe: "Recipe", seed: int) -> str:
    """For example digits-32-s0, or digits-1024-lr+ghost-ghost16-s0, which names what differs from the defaults."""
    words = [recipe.name, str(recipe.batch.size)]
    if recipe.adapted_from is not None:
        from lbadvisor.recipe.parts import PARTS

        parts = recipe.adapted_from.parts
        words.append("all" if parts == PARTS else "+".join(parts) or "none")
        if "lr" in parts and recipe.adapted_from.lr_rule != "sqrt":
            words.append(recipe.adapted_from.lr_rule.replace("=", ""))
        if recipe.adapted_from.stretch_share != 1:
            words.append(f"stretch{recipe.adapted_from.stretch_share:g}")
        words += (*recipe.adapted_from.additions, *recipe.adapted_from.options)
    return "-".join([*words, *_recipe_words(recipe), f"s{seed}"])


def ladder_name_of(baseline: "Recipe", asked: "Request", kind: str = "ladder") -> str:
    """For example digits-1024-ladder or digits-1024-ghost16-ladder."""
    from lbadvisor.planning.request import options_of

    words = [baseline.name, str(asked.target_batch_size), *options_of(asked), *_recipe_words(baseline)]
    return "-".join([*words, kind])


def _recipe_words(recipe: "Recipe") -> list[str]:
    words = ["recomputed"] if recipe.batch_norm.recompute_at_end else []
    if recipe.compute.precision != "float32":
        words.append(recipe.compute.precision)
    if recipe.compute.tf32:
        words.append("tf32")
    if recipe.compute.compile:
        words.append("compiled")
    return words
