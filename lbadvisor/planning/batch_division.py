"""How a batch can be divided without changing what is trained: into shares, micro-batches and among ranks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from lbadvisor.batch_cuts import are_shared, ghost_slices, ranks_for
from lbadvisor.errors import UsageError
from lbadvisor.running_statistics import RunningStatistics

if TYPE_CHECKING:
    from lbadvisor.recipe.recipe import Recipe


@dataclass(frozen=True, slots=True)
class WholeBatch:
    """A batch of `size` examples, and what of it must stay together; without a ghost size, batch norm spans all."""

    size: int
    ghost_batch_size: int | None
    has_batch_norm: bool
    running_statistics: RunningStatistics = "sequential"

    @classmethod
    def of(cls, recipe: "Recipe", *, has_batch_norm: bool) -> Self:
        """The recipe's, for a network with or without batch norm."""
        batch_norm = recipe.batch_norm
        return cls(recipe.batch.size, batch_norm.ghost_batch_size, has_batch_norm, batch_norm.running_statistics)

    @property
    def unit(self) -> int:
        """The examples that stay together: a ghost, or one if the network has no batch norm."""
        return (self.ghost_batch_size or self.size) if self.has_batch_norm else 1

    @property
    def ghosts(self) -> tuple[int, ...]:
        """The sizes of its ghosts, in order; of single examples without batch norm."""
        return ghost_slices(self.size, self.unit)


def micro_slices(batch: WholeBatch, micro_size: int | None, share: int | None = None) -> tuple[int, ...]:
    """Sizes of the slices that a batch, or a rank's `share` of it, is cut into, in order; None: it is in one piece.

    Slices consist of whole ghost batches: if the batch's remainder joins its last ghost, the last slice is longer by
    that remainder, less than half a ghost. `micro_size` is one that `check_micro_size` accepts. All in examples.
    """
    size = share or batch.size
    if micro_size is None or micro_size >= size:
        return (size,)
    ghosts, each = ghost_slices(size, batch.unit), micro_size // batch.unit
    return tuple(sum(ghosts[i : i + each]) for i in range(0, len(ghosts), each))


def check_division(batch: WholeBatch, ranks: int, micro_size: int | None, shares: int | None = None) -> None:
    """Raise `UsageError` if ranks, micro-batches or shares of this number or size would change what is trained."""
    if micro_size is not None:
        check_micro_size(batch, micro_size)
    check_ranks(batch, ranks)
    if shares is not None:
        check_shares(batch, ranks, shares)


def check_micro_size(batch: WholeBatch, micro_size: int) -> None:
    """Raise `UsageError` if slices of `micro_size` examples would change the statistics of batch norm.

    Without batch norm any size is fine. Ghost batches must stay whole. Plain batch norm cannot be cut, nor can ghosts
    whose running statistics combine all of them at once, as every definition but sequential does.
    """
    size, ghost = batch.size, batch.ghost_batch_size
    if not 1 <= micro_size <= size:
        raise UsageError(f"a micro-batch of {micro_size} is not between 1 and the batch size {size}")
    if not batch.has_batch_norm or micro_size == size:
        return
    if ghost is None:
        raise UsageError(
            f"a batch of {size} cannot be cut into micro-batches of {micro_size}: plain batch norm computes its "
            "statistics over the whole batch; train with ghost batches (batch_norm.ghost_batch_size)"
        )
    if batch.running_statistics != "sequential":
        raise UsageError(
            f"a batch of {size} cannot be cut into micro-batches of {micro_size}: batch_norm.running_statistics = "
            f"{batch.running_statistics} combines all ghosts of a batch at once; sequential does not, or cut it into "
            "shares (--shares)"
        )
    if micro_size % ghost:
        below = micro_size // ghost * ghost
        near = " or ".join(str(m) for m in (below, below + ghost) if 0 < m <= size)
        raise UsageError(
            f"a micro-batch of {micro_size} would cut ghost batches of {ghost}: use a multiple, such as {near}"
        )


def check_ranks(batch: WholeBatch, ranks: int) -> None:
    """Raise `UsageError` if a batch cannot be shared among so many ranks: each ghost whole, or cut evenly."""
    if are_shared(batch.size, batch.unit, ranks):
        return
    ghosts = batch.ghosts
    each = min(ranks // len(ghosts), *ghosts)
    near = [len(ghosts) * number for number in (each, each + 1) if number <= min(ghosts)]
    what, remedy = "", " or ".join(map(str, near))
    if 1 < batch.unit < batch.size:
        what = f" in {len(ghosts)} ghosts of {batch.unit}"
        if batch.size // ranks > 1:
            remedy += f", or with ghosts of at most {batch.size // ranks} (batch_norm.ghost_batch_size)"
    raise UsageError(f"a batch of {batch.size}{what} cannot be shared evenly among {ranks} ranks: train it on {remedy}")


def check_shares(batch: WholeBatch, ranks: int, shares: int) -> None:
    """Raise `UsageError` if a batch cannot be cut into so many shares, or the ranks cannot have as many each."""
    if shares < 1:
        raise UsageError(f"an update cannot be cut into {shares} shares: give at least 1")
    if ranks not in ranks_for(shares):
        *fewer, most = map(str, ranks_for(shares))
        fitting = " or ".join(filter(None, (", ".join(fewer), most)))
        cut = f"{shares} share{'s' * (shares > 1)}"
        raise UsageError(f"an update in {cut} cannot be divided between {ranks} ranks: train it on {fitting}")
    if shares == ranks or is_cut_whole(batch, shares):
        return
    if batch.unit >= batch.size:
        why = f"batch norm computes its statistics over all {batch.size} examples: train with ghost batches"
    else:
        why = f"it has {len(batch.ghosts)}" + (f" ghosts of {batch.unit}" if batch.has_batch_norm else " examples")
    raise UsageError(f"a batch of {batch.size} cannot be cut into {shares} shares: {why}")


def is_cut_whole(batch: WholeBatch, shares: int) -> bool:
    """Whether the batch has a ghost for each of so many shares."""
    return len(batch.ghosts) >= shares


def halved_micro_sizes(batch: WholeBatch) -> tuple[int, ...]:
    """The micro-batches to try if memory is short, largest first: the batch, then about half as much each time.

    In whole ghost batches; only the batch itself if batch norm does not allow cutting it.
    """
    if batch.has_batch_norm and batch.running_statistics != "sequential":
        return (batch.size,)
    count, sizes = len(batch.ghosts), [batch.size]
    while count > 1:
        count = -(-count // 2)
        sizes.append(count * batch.unit)
    return tuple(sizes)
