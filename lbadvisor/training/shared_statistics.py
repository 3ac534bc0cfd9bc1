"""What the shares of an update's batch add up to besides gradients: the loss, and batch norm's running statistics.

S shares, P running means and variances of all batch norms in a row, C channels of one of them.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import Self

import torch
from torch import Tensor, nn

from lbadvisor.errors import DataError
from lbadvisor.nn.ghost_statistics import statistic_of_ghosts
from lbadvisor.training.spanning_ghosts import shares_of_each_ghost
from lbadvisor.training.state import TrainState
from lbadvisor.training.update_batch import shares_of


@dataclass(frozen=True, slots=True)
class SharedUpdate:
    """How an update of running statistics follows from what those of each share are, begun at 0.

    They become `keeps` of what they were, and the shares' times `weights_S`: 0 for a share whose ghost an earlier one
    has. `counted` is the number of batch-norm updates this is. A share makes `counts_S` itself, with `momenta_S`.
    """

    keeps: float
    weights_S: tuple[float, ...]
    counted: int
    counts_S: tuple[int, ...]
    momenta_S: tuple[float, ...]

    @classmethod
    def of(cls, state: TrainState) -> Self:
        """The rule of the recipe's definition."""
        definition, momentum = state.recipe.batch_norm.running_statistics, state.recipe.batch_norm.momentum
        shares, each = shares_of(state), shares_of_each_ghost(state)
        if definition not in ("sequential", "per-update"):
            size, ones = state.recipe.batch.size, (1,) * len(shares)
            weights = tuple(sum(share) / size for share in shares)
            return cls(1 - momentum, weights, 1, ones, (momentum,) * len(shares))
        counts = tuple(map(len, shares))
        ghosts = [0 if share % each else count for share, count in enumerate(counts)]
        weight, momenta = momentum, (momentum,) * len(shares)
        if definition == "per-update":
            # A layer divides its momentum by the ghosts that it sees.
            weight = momentum / sum(ghosts)
            momenta = tuple(weight * count for count in counts)
        after = [sum(ghosts) - until for until in accumulate(ghosts)]
        weights = tuple((1 - weight) ** behind if here else 0.0 for here, behind in zip(ghosts, after, strict=True))
        return cls((1 - weight) ** sum(ghosts), weights, sum(ghosts), counts, momenta)


class SharedStatistics:
    """Batch norm's running statistics of batches that are cut into shares, as if all ghosts were in one.

    An update is linear in the ghosts' statistics, and so are its parts: what a share's own ghosts make of 0 is what
    they add. Only the `total` variance is that of the shares' means as well. Of one share, the layers have done it all.
    """

    def __init__(self, state: TrainState) -> None:
        self._ranks, self._rows = state.ranks, list[Tensor]()
        if state.ranks.shares == 1:
            return
        self._update = SharedUpdate.of(state)
        self._layers = [
            m
            for m in state.model.modules()
            if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None
        ]
        self._running = [t for layer in self._layers for t in (layer.running_mean, layer.running_var) if t is not None]
        self._tracked = [layer.num_batches_tracked for layer in self._layers if layer.num_batches_tracked is not None]
        self._before: list[Tensor] = []
        self._counts: list[Tensor] = []
        self._is_checked, self._on_cpu = False, state.interval.device.type == "cpu"
        self._total = _Total(state, self._layers) if state.recipe.batch_norm.running_statistics == "total" else None

    def begin(self) -> None:
        """Before the first share goes through the network."""
        self._rows.clear()
        if self._ranks.shares > 1:
            self._before = [running.clone() for running in self._running]
            self._counts = [count.clone() for count in self._tracked]

    def begin_share(self, number: int) -> None:
        """Before the share `number` of this rank, counted from 0, goes through the network."""
        if self._ranks.shares == 1:
            return
        for layer in self._layers:
            layer.momentum = self._update.momenta_S[self._ranks.own_shares[number]]
        if self._running:
            torch._foreach_zero_(self._running)

    def end_share(self, loss: Tensor) -> None:
        """Behind it; its part of the mean loss."""
        parts = [t.flatten().to(loss.dtype) for t in self._running] if self._ranks.shares > 1 else []
        self._rows.append(torch.cat([loss.reshape(1), *parts]))

    def end(self) -> Tensor:
        """Behind this rank's shares; the mean loss of the whole batch."""
        if self._ranks.shares == 1:
            return self._rows[0][0]
        self._check_counts()
        rows_SP = self._ranks.of_shares(torch.stack(self._rows))
        for count, before in zip(self._tracked, self._counts, strict=True):
            count.copy_(before + self._update.counted)
        if self._running:
            weights_S = rows_SP.new_tensor(self._update.weights_S)
            lengths = [t.numel() for t in self._running]
            added = list((weights_S[:, None] * rows_SP[:, 1:]).sum(0).split(lengths))
            if self._total is not None:
                added[1::2] = self._total.variances(rows_SP[:, 1:].split(lengths, 1))
            torch._foreach_mul_(self._before, self._update.keeps)
            torch._foreach_add_(self._before, added)
            torch._foreach_copy_(self._running, self._before)
        return rows_SP[:, 0].sum()

    def _check_counts(self) -> None:
        """Raise `DataError` if a layer saw a batch more than once, or not at all: its ghosts would not be in order.

        On a GPU, which it would have to wait for, the first time only.
        """
        if self._is_checked and not self._on_cpu:
            return
        self._is_checked = True
        seen = {int(count - before) for count, before in zip(self._tracked, self._counts, strict=True)}
        if seen - {sum(self._update.counts_S[share] for share in self._ranks.own_shares)}:
            raise DataError(
                "the network passes a batch through one of its batch norms more than once, or not at all: train it in "
                "one share, on one rank"
            )


class _Total:
    """The whole batch's variance, from the shares' own means and variances."""

    def __init__(self, state: TrainState, layers: list[nn.modules.batchnorm._BatchNorm]) -> None:
        each, ghosts = shares_of_each_ghost(state), shares_of(state)
        self._sizes = tuple(sum(map(sum, ghosts[share : share + each])) for share in range(0, len(ghosts), each))
        self._each, self._momentum = each, state.recipe.batch_norm.momentum
        self._layers, self._spaces = layers, dict[nn.Module, int]()
        for layer in layers:
            layer.register_forward_pre_hook(self._see)

    def variances(self, rows: tuple[Tensor, ...]) -> list[Tensor]:
        """What each layer adds to its running variance (C); `rows` (S, C) are the shares' means and variances in turn.

        Those are what batch norm made of 0: the statistics times the momentum.
        """
        found = []
        for layer, *both in zip(self._layers, rows[::2], rows[1::2], strict=True):
            mean_SC, var_SC = (t_SC[:: self._each] / self._momentum for t_SC in both)
            statistic = statistic_of_ghosts("total", mean_SC, var_SC, self._sizes, self._spaces[layer])
            found.append(self._momentum * statistic[1])
        return found

    def _see(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._spaces[layer] = inputs[0][0, 0].numel()
