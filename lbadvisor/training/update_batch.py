"""What one update sees: a function of (recipe, seed, update). B examples, F features."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from lbadvisor.training.compilation import Forward, naming_the_compiler
from lbadvisor.training.data.dataset import Dataset
from lbadvisor.training.gradient_noise import noise_weights
from lbadvisor.training.micro_batches import backward
from lbadvisor.training.models import known_classes
from lbadvisor.training.own_code import naming_own_network
from lbadvisor.training.regularization import dropout_factors, dropped_connections, noisy_labels
from lbadvisor.training.state import TrainState
from lbadvisor.training.transfer import sent


@dataclass(frozen=True, slots=True)
class UpdateBatch:
    """Inputs (B, ...) and targets (B, ...), with each example's weight in the loss and dropout factors, if any."""

    inputs: Tensor
    targets: Tensor
    weights_B: Tensor | None = None
    factors_BF: Tensor | None = None

    def first(self, size: int) -> Self:
        """The first `size` of its examples."""
        weights_B, factors_BF = (None if rows is None else rows[:size] for rows in (self.weights_B, self.factors_BF))
        return type(self)(self.inputs[:size], self.targets[:size], weights_B, factors_BF)


def update_batch(state: TrainState, dataset: Dataset, update: int) -> UpdateBatch:
    """The batch of update `update` (the first is 0), on the training's device."""
    recipe, dropout, seed = state.recipe, state.dropout, state.seed
    inputs, targets = dataset.training_batch(recipe, seed, update)
    weights_B = factors_BF = None
    if recipe.gradient_noise is not None:
        weights_B = sent(noise_weights(recipe.gradient_noise, recipe.batch.size, seed, update), targets.device)
    if recipe.regularization.label_noise:
        classes = known_classes(dataset.classes)
        targets = noisy_labels(targets, recipe.regularization.label_noise, classes, seed, update)
    if dropout is not None:
        factors_BF = sent(dropout_factors(dropout, recipe, seed, update), targets.device)
    return UpdateBatch(inputs, targets, weights_B, factors_BF)


def add_gradients(state: TrainState, batch: UpdateBatch, forward: Forward, sizes: tuple[int, ...]) -> Tensor:
    """Add the gradients of `batch`, passed in slices of `sizes`, to the parameters'; its mean loss, shape ().

    The state's next update decides which connections are dropped.
    """
    recipe = state.recipe
    masked = dropped_connections(state.model, recipe.regularization.drop_connect, state.seed, state.update)
    with naming_own_network(recipe), naming_the_compiler(recipe.compute), masked:
        return backward(
            forward,
            batch.inputs,
            batch.targets,
            sizes,
            recipe.compute,
            batch.weights_B,
            state.dropout,
            batch.factors_BF,
            state.goal,
        )
