"""The order of a run's examples, for a torch `DataLoader`."""

from collections.abc import Iterator, Sized
from typing import Any

from torch.utils.data import Sampler

from lbadvisor.errors import RefusedError, UsageError
from lbadvisor.planning.numbers_plan import NumbersPlan
from lbadvisor.training.data.order import batch_indices


class UpdateBatchSampler(Sampler[list[int]]):
    """A batch sampler of the examples that each update of a plan sees, in the order that `lbadvisor.train` uses.

        >>> import lbadvisor, torch
        >>> plan = lbadvisor.plan(batch_size=2, to=4, updates=5, examples=10)
        >>> dataset = torch.utils.data.TensorDataset(torch.arange(10))
        >>> sampler = lbadvisor.UpdateBatchSampler(dataset, plan, seed=0)
        >>> sampler.set_update(2)
        >>> [len(examples) for examples, in torch.utils.data.DataLoader(dataset, batch_sampler=sampler)]
        [4, 4, 4]

    Update u (the first is 0) sees the examples [u*B, (u+1)*B) of an endless stream of shuffled epochs: every batch is
    full, and may straddle two epochs. One pass over the loader is the whole training, `plan.updates` batches. The order
    is a function of the seed, so there is no position to save: before the loop, `set_update` says where to resume, as
    in `sampler.set_update(schedule.last_epoch)`. A loader with workers asks for batches ahead of the training.

    `dataset` is what the loader reads, or its number of examples. Raises `UsageError` if it is smaller than a batch.
    """

    def __init__(self, dataset: Sized | int, plan: NumbersPlan, seed: int = 0) -> None:
        self.examples = dataset if isinstance(dataset, int) else len(dataset)
        self.batch_size, self.updates, self.seed, self.update = plan.batch_size, plan.updates, seed, 0
        if self.examples < self.batch_size:
            raise UsageError(f"the plan's batch of {self.batch_size:,} is above the {self.examples:,} examples")

    def __iter__(self) -> Iterator[list[int]]:
        for update in range(self.update, self.updates):
            yield batch_indices(self.seed, update, self.batch_size, self.examples).tolist()

    def __len__(self) -> int:
        """The number of batches that are left, one for each update."""
        return self.updates - self.update

    def set_update(self, update: int) -> None:
        """Begin the next pass at `update`, the number of updates made. Raises `UsageError` if there is none such."""
        if not 0 <= update <= self.updates:
            raise UsageError(f"update {update} is not between 0 and the plan's {self.updates:,} updates")
        self.update = update

    def state_dict(self) -> dict[str, Any]:
        """What the order depends on, and where the next pass begins."""
        return {
            "seed": self.seed, "examples": self.examples, "batch_size": self.batch_size, "update": self.update,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume the order of a `state_dict`. Raises `RefusedError` if it is another one."""
        own = self.state_dict()
        for key in ("seed", "examples", "batch_size"):
            if state[key] != own[key]:
                raise RefusedError(f"the state is of another order of examples: {key} {state[key]}, not {own[key]}")
        self.set_update(state["update"])
