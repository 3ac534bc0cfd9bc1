"""Validation examples for a recipe that has none."""

from lbadvisor.errors import UsageError
from lbadvisor.recipe.file import checked
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates

HELD_OUT_SHARE = 0.1
"""Share of the training set, this project's choice: 6000 of MNIST, 5000 of CIFAR-10."""


def with_validation(recipe: Recipe) -> Recipe:
    """The recipe, if it already holds out validation examples; else the same training with a tenth held out.

    Its lengths are then in the same number of updates: fewer examples make shorter epochs, not a shorter training.
    Raises `UsageError` if too few examples are left for a batch.
    """
    if recipe.data.validation_examples is not None:
        return recipe
    held_out = round(recipe.data.train_examples * HELD_OUT_SHARE)
    left = recipe.data.train_examples - held_out
    if held_out < 1 or left < recipe.batch.size:
        raise UsageError(
            f"cannot hold out a tenth of {recipe.data.train_examples} training examples for validation with a "
            f"batch of {recipe.batch.size}"
        )
    data = recipe.data.model_copy(update={"train_examples": left, "validation_examples": held_out})
    return checked(in_updates(recipe).model_copy(update={"data": data}), f"{recipe.name} with {held_out} held out")
