"""What is read of the gradient's noise: its two moments, from the update's own gradient and one further pass."""

import torch
from torch import Tensor, nn

from lbadvisor.batch_cuts import ghost_slices
from lbadvisor.nn.two_batches import rest_of, squared_norm, two_batch_moments, untracked, variance_factor
from lbadvisor.planning.batch_division import micro_slices
from lbadvisor.recipe.recipe_tables import Measurements
from lbadvisor.records.quantities import GRADIENT_SQUARE, GRADIENT_VARIANCE
from lbadvisor.records.run import Reading
from lbadvisor.training.batch import UpdateBatch
from lbadvisor.training.data.dataset import Dataset
from lbadvisor.training.micro_batches import has_batch_norm, whole_batch
from lbadvisor.training.state import TrainState
from lbadvisor.training.summed_gradients import Halves, sum_in_halves
from lbadvisor.training.update_batch import add_gradients, connections_dropped, own_sizes, seed_share, update_batch

NOISE_EVERY_UPDATES = 100
"""At most one reading in so many updates: it takes 1.25 updates at most (digits, batch 32, on a CPU), 1.3% of them."""


def reads_noise(cadence: Measurements, update: int) -> bool:
    """Whether the measurement at `update` (counted from 1) reads the noise: the first in each 100 updates does."""
    if "noise" not in cadence.also:
        return False
    every = [each for each in (cadence.every_updates, cadence.evaluate_every_updates) if each is not None]
    before = max(((update - 1) // each * each for each in every), default=0)
    return before == 0 or before // NOISE_EVERY_UPDATES != update // NOISE_EVERY_UPDATES


def noise_readings(state: TrainState, dataset: Dataset, batch: UpdateBatch) -> tuple[Reading, ...]:
    """The readings at the next update, whose gradients, of `batch`, are those of the parameters; changes no state.

    The small batches are its two halves, in whole ghosts: one pass gives the gradient of the first, which leaves that
    of the second. If the batch is a single ghost, they are that and the batch of the update after it, which the weights
    have not seen either. So batch norm computes as in the update: its batch is part of the loss. They are these two as
    well if the network has dropout of its own, which draws other masks in another pass: the second half would have the
    difference in it. None if both sizes have the same variance, as when each batch is the whole training set.
    """
    size, examples = state.recipe.batch.size, state.recipe.data.train_examples
    start, own, first = state.update * size, _own(state), _first_half(state)
    if first:
        one = _gradients(state, batch, first)
        two = rest_of(own, one, size, first)
        both, sizes = own, (first, size - first)
    else:
        one, two = own, _gradients(state, update_batch(state, dataset, state.update + 1), size)
        both, sizes = [(a + b) / 2 for a, b in zip(one, two, strict=True)], (size, size)
    v_small = (variance_factor(start, sizes[0], examples) + variance_factor(start + sizes[0], sizes[1], examples)) / 2
    v_big = variance_factor(start, sum(sizes), examples)
    if v_small <= v_big:
        return ()
    moments = two_batch_moments((squared_norm(one) + squared_norm(two)) / 2, squared_norm(both), v_small, v_big)
    return tuple(
        Reading(state.update + 1, quantity.key, "", value)
        for quantity, value in zip((GRADIENT_SQUARE, GRADIENT_VARIANCE), moments, strict=True)
    )


def _first_half(state: TrainState) -> int:
    """The examples of the first half of an update's ghosts; of the batch itself without batch norm. 0 if not halved."""
    size, ghost = state.recipe.batch.size, state.recipe.batch_norm.ghost_batch_size
    if any(isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p for layer in state.model.modules()):
        return 0
    if not has_batch_norm(state.model):
        return size // 2
    ghosts = (size,) if ghost is None else ghost_slices(size, ghost)
    return sum(ghosts[: len(ghosts) // 2])


def _gradients(state: TrainState, batch: UpdateBatch, size: int) -> list[Tensor]:
    """Those of the first `size` examples of the batch, over all shares and ranks.

    The parameters keep theirs, and batch norm its running statistics.
    """
    kept = [p.grad for p in state.parameters]
    used = [p for p in state.parameters if p.grad is not None]
    sums = Halves[Tensor](len(state.ranks.own_shares), torch.add)
    try:
        for number, share in zip(state.ranks.own_shares, batch.cut(own_sizes(state)), strict=True):
            seed_share(state, number, "noise")
            for parameter in state.parameters:
                parameter.grad = None
            part = share.begin(size)
            if here := len(part.targets):
                slices = micro_slices(whole_batch(state.recipe, state.model), state.micro_size, here)
                with untracked(state.model), connections_dropped(state):
                    add_gradients(state, part, state.model, slices)
            parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in used]
            sums.add(torch.cat([part.flatten() for part in parts]))
    finally:
        for parameter, gradient in zip(state.parameters, kept, strict=True):
            parameter.grad = gradient
    flat = sum_in_halves(state.ranks.gathered(sums.open[0]).unbind())
    return [total.view_as(p) for total, p in zip(flat.split([p.numel() for p in used]), used, strict=True)]


def _own(state: TrainState) -> list[Tensor]:
    return [p.grad for p in state.parameters if p.grad is not None]
