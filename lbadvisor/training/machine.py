"""What computes, and where the data sets lie."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import torch

from lbadvisor.errors import RefusedError
from lbadvisor.planning.batch_division import WholeBatch, check_division
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.data.dataset import Dataset, Preparing
from lbadvisor.training.data.preparation import default_data_dir, preparing
from lbadvisor.training.environment import chosen_device, make_deterministic
from lbadvisor.training.evaluation import check_fit
from lbadvisor.training.memory import largest_micro_size
from lbadvisor.training.own_code import CodeFolders, factories_of
from lbadvisor.training.precision import check_compute
from lbadvisor.training.ranks import ALONE, Ranks, ranks_here
from lbadvisor.training.state import TrainState, start_state, threads_of

MicroSize = int | Literal["auto"] | None


def refuse_recorded(recipe: Recipe) -> None:
    """Raise `RefusedError` for the recipe of a training elsewhere: here the same numbers would train something else."""
    if recipe.recorded is not None:
        raise RefusedError(
            f"the recipe {recipe.name} says what {recipe.recorded.program} trained, which cannot be trained here: "
            "remove its table [recorded] to train a recipe of your own"
        )


@dataclass(frozen=True, slots=True)
class Machine:
    """The device, the folder of the data sets, and how a batch is cut to save memory.

    `micro` is the size of the micro-batches in examples, `auto` for the largest that fits into a GPU's memory, None for
    what the run had before, and at first the batch in one piece. `code` are the folders in which a recipe's factories
    are looked for; None: the user has not allowed to run code that a recipe names. `threads` are the CPU threads of new
    runs, None for as many as there are cores, and one for a small network; a resumed run keeps its own. `shares` are
    those that an update is cut into; None for what the run had before, and at first one for each rank.
    """

    device: torch.device
    data_dir: Path
    micro: MicroSize = None
    code: CodeFolders = None
    threads: int | None = None
    ranks: Ranks = ALONE
    shares: int | None = None

    @classmethod
    def here(
        cls,
        device: str = "auto",
        data_dir: Path | str | None = None,
        micro: MicroSize = None,
        code: CodeFolders = None,
        threads: int | None = None,
    ) -> Self:
        """The device called auto, cpu or cuda, with the default data folder if none is given. Raises `UsageError`."""
        ranks = ranks_here()
        return cls(chosen_device(device, ranks), Path(data_dir or default_data_dir()), micro, code, threads, ranks)

    def as_rank(self, ranks: Ranks) -> Self:
        """The same, of one of the ranks: of several, each has a GPU of its own. Raises `UsageError`."""
        device = chosen_device(self.device.type, ranks) if ranks.are_several else self.device
        return replace(self, device=device, ranks=ranks)

    def check(self, recipe: Recipe) -> None:
        """Raise `UsageError` if the device cannot compute as the recipe says.

        Also if micro-batches or ranks would change the result.

        Raise `RefusedError` for the recipe of a training elsewhere.
        """
        refuse_recorded(recipe)
        check_compute(recipe.compute, self.device)
        if recipe.model.has_batch_norm is None:
            return
        batch = WholeBatch.of(recipe, has_batch_norm=recipe.model.has_batch_norm)
        check_division(batch, self.ranks.size, self.micro if isinstance(self.micro, int) else None, self.shares)

    def for_batches_of(self, size: int) -> Self:
        """The same; a batch no larger than a micro-batch goes in one piece."""
        return replace(self, micro=None) if isinstance(self.micro, int) and self.micro >= size else self

    def prepare(self, recipe: Recipe) -> Generator[Preparing, None, Dataset]:
        """Makes what is computed from here on reproducible, and prepares the recipe's data set: see `preparing`."""
        refuse_recorded(recipe)
        make_deterministic(self.device)
        return (yield from preparing(recipe, self.data_dir, self.device, code=self.code))

    def start(self, recipe: Recipe, seed: int, dataset: Dataset) -> TrainState:
        """The state before the first update; of the user's own code, it was tried whether its parts fit together."""
        state = start_state(recipe, seed, dataset.shape, dataset.classes, self.device, self.code)
        state.threads = self.threads or threads_of(state.parameters, self.ranks)
        if factories_of(recipe):
            check_fit(state, dataset)
        return state

    def micro_size(self, build: Callable[[], TrainState], dataset: Dataset) -> int | None:
        """The size asked for, or the one that fits. None is not asked for, or on a CPU: its memory is the machine's."""
        if self.micro != "auto":
            return self.micro
        # A machine's memory is swapped, and does not say where it ends.
        return largest_micro_size(build, dataset) if self.device.type == "cuda" else None
