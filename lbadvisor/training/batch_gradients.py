"""The gradients of an update's batch, which goes through the network share by share."""

from torch import Tensor

from lbadvisor.training.batch import UpdateBatch
from lbadvisor.training.compilation import training_forward
from lbadvisor.training.shared_statistics import SharedStatistics
from lbadvisor.training.state import TrainState
from lbadvisor.training.summed_gradients import SummedGradients
from lbadvisor.training.update_batch import add_gradients, connections_dropped, own_passes, seed_share


class BatchGradients:
    """Computes those of a state's batches, and batch norm's running statistics."""

    def __init__(self, state: TrainState) -> None:
        recipe, device = state.recipe, state.interval.device
        self._state, self._passes, self._statistics = state, own_passes(state), SharedStatistics(state)
        self._sums = SummedGradients(
            training_forward(state.model, recipe.compute),
            state.parameters,
            state.ranks,
            device,
            is_own=recipe.model.factory is not None,
        )

    def add(self, batch: UpdateBatch) -> Tensor:
        """Give each parameter its gradient over the batch of the state's next update; the mean loss, shape ().

        Seeds torch's global generators for each share: a network's own dropout draws another mask for each.
        """
        state, statistics = self._state, self._statistics
        statistics.begin()
        with connections_dropped(state):
            parts = batch.cut(tuple(map(sum, self._passes)))
            for number, (share, part, sizes) in enumerate(
                zip(state.ranks.own_shares, parts, self._passes, strict=True)
            ):
                seed_share(state, share, "update")
                statistics.begin_share(number)
                with self._sums.share(number):
                    loss = add_gradients(state, part, self._sums.forward, sizes)
                statistics.end_share(loss)
        return statistics.end()
