"""Has the ranks that share a ghost compute its batch norm together."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from lbadvisor.batch_cuts import ranks_per_ghost
from lbadvisor.errors import DataError
from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
from lbadvisor.nn.spanning_batch_norm import SpanningBatchNorm
from lbadvisor.training.micro_batches import whole_batch
from lbadvisor.training.state import TrainState

KNOWN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, GhostBatchNorm, SpanningBatchNorm)
"""Kinds of batch norm that compute the same; another may be a user's own, which does more."""


def shares_of_each_ghost(state: TrainState) -> int:
    """How many shares a ghost lies in, each on a rank of its own: one if the ghosts are whole or there are none."""
    batch = whole_batch(state.recipe, state.model)
    return ranks_per_ghost(batch.size, batch.unit, state.ranks.shares)


def spanning_note(state: TrainState) -> str | None:
    """What to say if a ghost is larger than a rank's share."""
    each = shares_of_each_ghost(state)
    if each == 1:
        return None
    size, ghost = state.recipe.batch.size, state.recipe.batch_norm.ghost_batch_size
    what = f"batch norm over {size} examples" if ghost is None else f"each ghost of {ghost}"
    return f"{what} spans {each} ranks, which wait for one another at every batch norm"


def span_ghosts(state: TrainState) -> None:
    """Put `SpanningBatchNorm` in the place of the model's batch norm if a ghost is larger than a rank's share.

    It shares parameters and buffers with the layers that it replaces. Raises `DataError` for a kind of batch norm that
    is not torch's.
    """
    recipe, each = state.recipe, shares_of_each_ghost(state)
    if each == 1:
        return
    layers = [m for m in state.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for layer in layers:
        if type(layer) not in KNOWN:
            raise DataError(
                f"{type(layer).__name__} is a batch norm of the network's own, and several ranks would share its batch "
                "or ghosts: train it on one rank"
            )
    ghost, definition = whole_batch(recipe, state.model).unit, recipe.batch_norm.running_statistics
    state.model = SpanningBatchNorm.convert_ghost_batchnorm(state.model, ghost, definition)
    group = state.ranks.neighbours(each)
    for module in state.model.modules():
        if isinstance(module, SpanningBatchNorm):
            module.group = group


@contextmanager
def apart(model: nn.Module) -> Iterator[None]:
    """While entered, each rank computes the ghosts of what it passes alone."""
    layers = [(layer, layer.group) for layer in model.modules() if isinstance(layer, SpanningBatchNorm)]
    for layer, _ in layers:
        layer.group = None
    try:
        yield
    finally:
        for layer, group in layers:
            layer.group = group
