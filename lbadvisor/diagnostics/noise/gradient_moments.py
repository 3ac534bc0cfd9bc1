"""The mean and the noise of a gradient, from batches of two sizes."""

import math

import torch
from torch import Tensor, nn

from lbadvisor.diagnostics.noise.noise_estimate import GradientMoments
from lbadvisor.errors import LbadvisorError
from lbadvisor.nn.two_batches import two_batch_moments, untracked, variance_factor
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Batch
from lbadvisor.training.data.dataset import Dataset
from lbadvisor.training.goal import CROSS_ENTROPY, Goal
from lbadvisor.training.micro_batches import outputs_of
from lbadvisor.training.seeds import derived_seed
from lbadvisor.training.state import TrainState


def fresh_moments(state: TrainState, dataset: Dataset, unit: int, units: int) -> GradientMoments:
    """Those at the state's weights, of `units` batches of `unit` examples that its training does not see there.

    Raises `LbadvisorError` if they are not finite.
    """
    recipe = state.recipe.model_copy(update={"batch": Batch(size=units * unit)})
    # Other examples, in another order, than in the update just made.
    draws = derived_seed(state.seed, "gradient moments", state.update) % 2**31
    batch = dataset.training_batch(recipe, draws, 0)
    found = gradient_moments(state.model, recipe, *batch, units, recipe.data.train_examples, state.goal)
    if not all(map(math.isfinite, found)):
        after = f"{state.update} update{'s'[: state.update > 1]}"
        raise LbadvisorError(
            f"{recipe.name} diverged within {after}, so its gradient has no noise scale: lower its learning rate, or "
            "give fewer --updates"
        )
    return GradientMoments(state.seed, state.update, *found)


def gradient_moments(
    model: nn.Module,
    recipe: Recipe,
    inputs: Tensor,
    targets: Tensor,
    chunks: int,
    examples: int,
    goal: Goal = CROSS_ENTROPY,
) -> tuple[float, float]:
    """Unbiased estimates of |g|^2, of the mean gradient, and of tr S, the trace of one example's gradient covariance.

    The batch, drawn without replacement from N `examples`, is cut into `chunks`, which pass through the network (and
    its batch norm) one at a time: they are the small batches of `two_batch_moments`, and all of them the big one.
    Leaves the model unchanged, in training mode.
    """
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    total = [torch.zeros_like(p, dtype=torch.float64) for p in parameters]
    squares = []
    with untracked(model):
        for own_inputs, own_targets in zip(inputs.chunk(chunks), targets.chunk(chunks), strict=True):
            loss = goal.mean(outputs_of(model, own_inputs, recipe.compute), own_targets)
            gradients = torch.autograd.grad(loss, parameters)
            squares.append(float(torch.nn.utils.get_total_norm(gradients).double() ** 2))
            for sum_, gradient in zip(total, gradients, strict=True):
                sum_ += gradient
    big = len(targets)
    of_big = float(torch.nn.utils.get_total_norm([sum_ / chunks for sum_ in total]) ** 2)
    factors = (variance_factor(0, size, examples) for size in (big // chunks, big))
    return two_batch_moments(sum(squares) / chunks, of_big, *factors)
