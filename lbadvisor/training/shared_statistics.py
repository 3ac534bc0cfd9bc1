"""What the ranks tell one another at each update besides gradients: the loss, and what their ghosts add to statistics.

R ranks, P running means and variances of all batch norms in a row, C channels of one of them.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from lbadvisor.errors import DataError
from lbadvisor.nn.ghost_statistics import statistic_of_ghosts
from lbadvisor.training.spanning_ghosts import ranks_of_each_ghost
from lbadvisor.training.state import TrainState
from lbadvisor.training.update_batch import shares_of


@dataclass(frozen=True, slots=True)
class SharedUpdate:
    """How an update of running statistics follows from what those of each rank are, begun at 0.

    They become `keeps` of what they were, and the ranks' times `weights`: 0 for a rank whose ghost an earlier one
    has. `counted` is the number of batch-norm updates this is, `own` of those a rank makes itself, `momentum` its own.
    """

    keeps: float
    weights: tuple[float, ...]
    counted: int
    own: int
    momentum: float

    @classmethod
    def of(cls, state: TrainState) -> Self:
        """The rule of the recipe's definition, on this rank."""
        definition, momentum = state.recipe.batch_norm.running_statistics, state.recipe.batch_norm.momentum
        shares, each = shares_of(state), ranks_of_each_ghost(state, state.ranks.size)
        own = len(shares[state.ranks.rank])
        if definition not in ("sequential", "per-update"):
            size = state.recipe.batch.size
            return cls(1 - momentum, tuple(sum(share) / size for share in shares), 1, 1, momentum)
        ghosts = [0 if rank % each else len(share) for rank, share in enumerate(shares)]
        count, weight = sum(ghosts), momentum
        if definition == "per-update":
            # A layer divides its momentum by the ghosts that it sees.
            weight, momentum = momentum / count, momentum / count * own
        after = [sum(ghosts[rank + 1 :]) for rank in range(len(ghosts))]
        weights = tuple((1 - weight) ** behind if here else 0.0 for here, behind in zip(ghosts, after, strict=True))
        return cls((1 - weight) ** count, weights, count, own, momentum)


class SharedStatistics:
    """Batch norm's running statistics of batches that are shared among ranks, as if one process had all ghosts.

    An update is linear in the ghosts' statistics, and so are its parts: what a rank's own ghosts make of 0 is what they
    add. Only the `total` variance is that of the ranks' means as well. Alone, the layers have done it all.
    """

    def __init__(self, state: TrainState) -> None:
        self._ranks = state.ranks
        if not self._ranks.are_several:
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
        self._is_checked = False
        self._total = _Total(state, self._layers) if state.recipe.batch_norm.running_statistics == "total" else None
        for layer in self._layers:
            layer.momentum = self._update.momentum

    def begin(self) -> None:
        """Before the batch goes through the network."""
        if not self._ranks.are_several:
            return
        self._before = [running.clone() for running in self._running]
        self._counts = [count.clone() for count in self._tracked]
        if self._running:
            torch._foreach_zero_(self._running)

    def end(self, loss: Tensor) -> Tensor:
        """Behind it; of this rank's part of the mean loss, that of the whole batch."""
        if not self._ranks.are_several:
            return loss
        self._check_counts()
        own = torch.cat([loss.reshape(1), *(t.flatten().to(loss.dtype) for t in self._running)])
        rows_RP = self._ranks.gathered(own)
        for count, before in zip(self._tracked, self._counts, strict=True):
            count.copy_(before + self._update.counted)
        if self._running:
            weights_R = own.new_tensor(self._update.weights)
            lengths = [t.numel() for t in self._running]
            added = list((weights_R[:, None] * rows_RP[:, 1:]).sum(0).split(lengths))
            if self._total is not None:
                added[1::2] = self._total.variances(rows_RP[:, 1:].split(lengths, 1))
            torch._foreach_mul_(self._before, self._update.keeps)
            torch._foreach_add_(self._before, added)
            torch._foreach_copy_(self._running, self._before)
        return rows_RP[:, 0].sum()

    def _check_counts(self) -> None:
        """Raise `DataError` if a layer saw a batch more than once, whose ghosts would then not be in order."""
        if self._is_checked:
            return
        self._is_checked = True
        seen = {int(count - before) for count, before in zip(self._tracked, self._counts, strict=True)}
        if seen - {self._update.own}:
            raise DataError(
                "the network passes a batch through one of its batch norms more than once, or not at all: train it on "
                "one rank"
            )


class _Total:
    """The whole batch's variance, from the ranks' own means and variances."""

    def __init__(self, state: TrainState, layers: list[nn.modules.batchnorm._BatchNorm]) -> None:
        each, ghosts = ranks_of_each_ghost(state, state.ranks.size), shares_of(state)
        self._sizes = tuple(sum(map(sum, ghosts[rank : rank + each])) for rank in range(0, len(ghosts), each))
        self._each, self._momentum = each, state.recipe.batch_norm.momentum
        self._layers, self._spaces = layers, dict[nn.Module, int]()
        for layer in layers:
            layer.register_forward_pre_hook(self._see)

    def variances(self, rows: tuple[Tensor, ...]) -> list[Tensor]:
        """What each layer adds to its running variance (C); `rows` (R, C) are the ranks' means and variances in turn.

        Those are what batch norm made of 0: the statistics times the momentum.
        """
        found = []
        for layer, *both in zip(self._layers, rows[::2], rows[1::2], strict=True):
            mean_RC, var_RC = (t_RC[:: self._each] / self._momentum for t_RC in both)
            statistic = statistic_of_ghosts("total", mean_RC, var_RC, self._sizes, self._spaces[layer])
            found.append(self._momentum * statistic[1])
        return found

    def _see(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._spaces[layer] = inputs[0][0, 0].numel()
