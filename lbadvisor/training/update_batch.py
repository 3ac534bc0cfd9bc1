"""The batch of an update, a function of (recipe, seed, update), and its gradients. B examples, F features."""

from contextlib import AbstractContextManager

from torch import Tensor

from lbadvisor.batch_cuts import EVERYTHING, rank_shares
from lbadvisor.planning.batch_division import micro_slices
from lbadvisor.training.batch import UpdateBatch
from lbadvisor.training.compilation import Forward, naming_the_compiler
from lbadvisor.training.data.dataset import Dataset
from lbadvisor.training.gradient_noise import noise_weights
from lbadvisor.training.micro_batches import backward, whole_batch
from lbadvisor.training.models import known_classes
from lbadvisor.training.own_code import naming_own_network
from lbadvisor.training.regularization import dropout_factors, dropped_connections, noisy_labels
from lbadvisor.training.seeds import derived_seed, seed_torch
from lbadvisor.training.state import TrainState
from lbadvisor.training.transfer import sent


def update_batch(state: TrainState, dataset: Dataset, update: int) -> UpdateBatch:
    """The rank's shares of the batch of update `update` (the first is 0), on the training's device."""
    recipe, dropout, seed = state.recipe, state.dropout, state.seed
    own, size = own_places(state), recipe.batch.size
    inputs, targets = dataset.training_batch(recipe, seed, update, own)
    weights_B = factors_BF = None
    if recipe.gradient_noise is not None:
        weights_B = sent(noise_weights(recipe.gradient_noise, size, seed, update)[own], targets.device)
    if recipe.regularization.label_noise:
        classes = known_classes(dataset.classes)
        targets = noisy_labels(targets, recipe.regularization.label_noise, classes, seed, update, own, size)
    if dropout is not None:
        factors_BF = sent(dropout_factors(dropout, recipe, seed, update)[own], targets.device)
    return UpdateBatch(inputs, targets, weights_B, factors_BF, range(size)[own].start, size)


def shares_of(state: TrainState) -> tuple[tuple[int, ...], ...]:
    """For each share the sizes of its ghosts in a batch, in examples; of single examples without batch norm."""
    batch = whole_batch(state.recipe, state.model)
    return rank_shares(batch.size, batch.unit, state.ranks.shares)


def own_places(state: TrainState) -> slice:
    """The places of a batch that are in this rank's shares."""
    if not state.ranks.are_several:
        return EVERYTHING
    sizes, own = [sum(ghosts) for ghosts in shares_of(state)], state.ranks.own_shares
    return slice(sum(sizes[: own.start]), sum(sizes[: own.stop]))


def own_sizes(state: TrainState) -> tuple[int, ...]:
    """The examples of each of this rank's shares."""
    own = state.ranks.own_shares
    return tuple(map(sum, shares_of(state)[own.start : own.stop]))


def own_passes(state: TrainState) -> list[tuple[int, ...]]:
    """For each of this rank's shares, the examples of the passes that it goes through the network in."""
    batch = whole_batch(state.recipe, state.model)
    return [micro_slices(batch, state.micro_size, size) for size in own_sizes(state)]


def add_gradients(state: TrainState, batch: UpdateBatch, forward: Forward, sizes: tuple[int, ...]) -> Tensor:
    """Add the gradients of `batch`, passed in slices of `sizes`, to the parameters'; its mean loss, shape ().

    Of a share both are what it contributes; see `backward`. The connections that the state's next update drops are for
    the caller to drop.
    """
    with naming_own_network(state.recipe), naming_the_compiler(state.recipe.compute):
        return backward(forward, batch, sizes, state.recipe.compute, state.dropout, state.goal)


def seed_share(state: TrainState, share: int, purpose: str) -> None:
    """Seed torch's global generators for a share of the next update: a network's own dropout draws a mask for each."""
    purpose = f"{purpose} of share {share}" if share else purpose
    seed_torch(derived_seed(state.seed, purpose, state.update), state.interval.device)


def connections_dropped(state: TrainState) -> AbstractContextManager[None]:
    """While entered, the connections are dropped that the state's next update drops: see `dropped_connections`."""
    return dropped_connections(state.model, state.recipe.regularization.drop_connect, state.seed, state.update)
