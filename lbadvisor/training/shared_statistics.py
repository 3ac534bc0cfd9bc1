"""What the ranks tell one another at each update besides gradients: the loss, and what their ghosts add to statistics.

R ranks, P running means and variances of all batch norms in a row.
"""

import torch
from torch import Tensor, nn

from lbadvisor.errors import DataError
from lbadvisor.training.state import TrainState
from lbadvisor.training.update_batch import shares_of


class SharedStatistics:
    """Batch norm's running statistics of batches whose ghosts are shared among ranks, as if one process had them all.

    A ghost's update is running <- (1 - m) running + m statistic. So those of a rank's n ghosts, begun at 0, leave what
    they add; that of all ranks is, in their order, running <- (1 - m)^n running + what it adds. Alone, the layers have
    done it all.
    """

    def __init__(self, state: TrainState) -> None:
        model, momentum, self._ranks = state.model, state.recipe.batch_norm.momentum, state.ranks
        ghosts = tuple(len(share) for share in shares_of(state))
        layers = [
            m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
        ]
        found = [t for layer in layers for t in (layer.running_mean, layer.running_var)]
        self._running = [t for t in found if t is not None]
        self._tracked = [layer.num_batches_tracked for layer in layers if layer.num_batches_tracked is not None]
        self._ghosts = ghosts
        after = [sum(ghosts[rank + 1 :]) for rank in range(len(ghosts))]
        self._keeps = (1 - momentum) ** sum(ghosts)
        self._weights = [(1 - momentum) ** ghosts_after for ghosts_after in after]
        self._before: list[Tensor] = []
        self._counts: list[Tensor] = []
        self._is_checked = False

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
            count.copy_(before + sum(self._ghosts))
        if self._running:
            weights_R = own.new_tensor(self._weights)
            added = (weights_R[:, None] * rows_RP[:, 1:]).sum(0).split([t.numel() for t in self._running])
            torch._foreach_mul_(self._before, self._keeps)
            torch._foreach_add_(self._before, list(added))
            torch._foreach_copy_(self._running, self._before)
        return rows_RP[:, 0].sum()

    def _check_counts(self) -> None:
        """Raise `DataError` if a layer saw a batch more than once, whose ghosts would then not be in order."""
        if self._is_checked:
            return
        self._is_checked = True
        seen = {int(count - before) for count, before in zip(self._tracked, self._counts, strict=True)}
        if seen - {self._ghosts[self._ranks.rank]}:
            raise DataError(
                "the network passes a batch through one of its batch norms more than once, or not at all: train it on "
                "one rank"
            )
