"""How a batch is cut: into ghosts, and among the ranks that train it together. Sizes in examples."""

EVERYTHING = slice(None)
"""All places of a batch, or of a data set: the share of whoever trains alone."""


def ghost_slices(batch_size: int, ghost_batch_size: int) -> tuple[int, ...]:
    """Sizes, in examples and in order, of the ghosts that `batch_size` examples are cut into.

    A remainder of less than half a ghost joins the last ghost, otherwise it is a ghost of its own; a batch smaller than
    the ghost size is one ghost. Raises `ValueError` if either number is below 1.
    """
    if batch_size < 1 or ghost_batch_size < 1:
        raise ValueError(f"cannot cut {batch_size} examples into ghosts of {ghost_batch_size}: both must be at least 1")
    whole, rest = divmod(batch_size, ghost_batch_size)
    if whole == 0:
        return (batch_size,)
    if 2 * rest < ghost_batch_size:
        return (ghost_batch_size,) * (whole - 1) + (ghost_batch_size + rest,)
    return (ghost_batch_size,) * whole + (rest,)


def share_of(count: int, rank: int, ranks: int) -> slice:
    """The places, of `count` in a row, that are one rank's: the shares follow one another and differ by one at most."""
    return slice(rank * count // ranks, (rank + 1) * count // ranks)


def sums_ending_with(count: int) -> tuple[int, ...]:
    """How many sums end with each of `count` terms that are summed in halves, such as ((a + b) + (c + (d + e))).

    For each term in order: 0, 1, 0, 0, 3 of those five. The terms of equal stretches of a power of two of them, summed
    alone and then together, are summed in the same order.
    """
    if count == 1:
        return (0,)
    *others, last = sums_ending_with(count // 2) + sums_ending_with(count - count // 2)
    return (*others, last + 1)


def ranks_for(shares: int) -> tuple[int, ...]:
    """The numbers of ranks that can have as many shares each, and sum them in the same order as one process does."""
    powers = (2**power for power in range(shares.bit_length()))
    return tuple(sorted({shares, *(ranks for ranks in powers if shares % ranks == 0)}))


def ranks_per_ghost(batch_size: int, ghost_batch_size: int, ranks: int) -> int:
    """How many ranks compute a ghost together: one, unless there are fewer ghosts than ranks."""
    return max(1, ranks // len(ghost_slices(batch_size, ghost_batch_size)))


def rank_shares(batch_size: int, ghost_batch_size: int, ranks: int) -> tuple[tuple[int, ...], ...]:
    """For each rank, in order, the sizes of its ghosts: those of the batch, which no number of ranks changes.

    If the number of ranks is a multiple of that of the ghosts, each ghost is cut evenly among as many ranks, and a rank
    has one part. If it is larger but no multiple, some ranks have none. A network without batch norm has ghosts of 1.
    """
    ghosts, each = ghost_slices(batch_size, ghost_batch_size), ranks_per_ghost(batch_size, ghost_batch_size, ranks)
    if len(ghosts) * each != ranks or each == 1:
        return tuple(ghosts[share_of(len(ghosts), rank, ranks)] for rank in range(ranks))
    return tuple((len(range(ghost)[share_of(ghost, part, each)]),) for ghost in ghosts for part in range(each))


def are_shared(batch_size: int, ghost_batch_size: int, ranks: int) -> bool:
    """Whether every rank has examples of the batch."""
    return all(map(sum, rank_shares(batch_size, ghost_batch_size, ranks)))
