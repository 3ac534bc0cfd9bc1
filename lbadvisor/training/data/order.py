"""Which examples an update sees: an endless stream of shuffled epochs, cut into full batches."""

import functools

import torch
from torch import Tensor

from lbadvisor.training.seeds import permutation


def batch_indices(seed: int, update: int, batch_size: int, examples: int) -> Tensor:
    """Which examples update `update` (the first is 0) sees: int64 (batch_size,).

    They are [u*B, (u+1)*B) of an endless stream of shuffled epochs, so a batch may straddle two of them.
    """
    parts, position, missing = [], update * batch_size, batch_size
    while missing:
        epoch, start = divmod(position, examples)
        part = _cached_permutation(seed, epoch, examples)[start : start + missing]
        parts.append(part)
        position, missing = position + len(part), missing - len(part)
    return torch.cat(parts) if len(parts) > 1 else parts[0]


_cached_permutation = functools.lru_cache(maxsize=2)(permutation)
