"""What fits into a device's memory: the largest micro-batch, and the message if none does."""

import gc
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

import torch

from lbadvisor.errors import OutOfMemoryError
from lbadvisor.planning.batch_division import halved_micro_sizes
from lbadvisor.training.data.dataset import Dataset
from lbadvisor.training.loop import train
from lbadvisor.training.micro_batches import whole_batch
from lbadvisor.training.out_of_memory import is_of_memory, naming_memory
from lbadvisor.training.state import TrainState

Made = TypeVar("Made")


def largest_micro_size(build: Callable[[], TrainState], dataset: Dataset) -> int:
    """The largest micro-batch with which an update fits into memory; tries the batch itself, then halves it.

    `build` makes the state before the first update; each trial makes two updates with a state of its own (the second
    update also has the optimizer's moments and the previous batch in memory), and drops it. Raises `OutOfMemoryError`
    if even the smallest does not fit.
    """
    state = build()
    sizes = halved_micro_sizes(whole_batch(state.recipe, state.model))
    device = state.interval.device
    del state
    for size in sizes:
        if _fits(build, dataset, size):
            return size
    raise OutOfMemoryError(
        f"an update does not fit into the memory of the device {device} in micro-batches of {sizes[-1]} examples"
        f"{_CANNOT_BE_CUT}"
    )


def _fits(build: Callable[[], TrainState], dataset: Dataset, size: int) -> bool:
    try:
        _make_two_updates(build(), dataset, size)
        fits = True
    except (RuntimeError, MemoryError) as error:
        if not is_of_memory(error):
            raise
        fits = False
    # Only now is the trial's memory free: while an error is being handled, its traceback keeps it.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return fits


def _make_two_updates(state: TrainState, dataset: Dataset, micro_size: int) -> None:
    state.micro_size = micro_size
    for _ in islice(train(state, dataset), 2):
        pass


def naming_what_fits(updates: Iterator[Made], state: TrainState) -> Iterator[Made]:
    """The same updates of `state`; if memory runs out, an `OutOfMemoryError` that says what to try."""
    with naming_memory(_what_to_try(state)):
        yield from updates


def _what_to_try(state: TrainState) -> str:
    size = state.micro_size or state.recipe.batch.size
    what = f"an update does not fit into the memory of the device {state.interval.device} in micro-batches of {size}"
    sizes = halved_micro_sizes(whole_batch(state.recipe, state.model))
    smaller = next((s for s in sizes if s < size), None)
    return what + (_CANNOT_BE_CUT if smaller is None else f" examples: give --micro {smaller}, or --micro auto")


_CANNOT_BE_CUT = (
    ", which cannot be cut further, because batch norm computes its statistics over them: "
    "train with smaller ghost batches (batch_norm.ghost_batch_size), their running statistics sequential, or another "
    "network"
)
