"""Which examples an update sees: an endless stream of shuffled epochs, cut into full batches."""

import functools

import torch
from torch import Tensor

from lbadvisor.training.seeds import permutation

CPU = torch.device("cpu")


def batch_indices(seed: int, update: int, batch_size: int, examples: int, device: torch.device = CPU) -> Tensor:
    """Which examples update `update` (the first is 0) sees: int64 (batch_size,), on `device`.

    They are [u*B, (u+1)*B) of an endless stream of shuffled epochs, so a batch may straddle two of them.
    """
    parts, position, missing = [], update * batch_size, batch_size
    while missing:
        epoch, start = divmod(position, examples)
        part = _cached_permutation(seed, epoch, examples, device)[start : start + missing]
        parts.append(part)
        position, missing = position + len(part), missing - len(part)
    return torch.cat(parts) if len(parts) > 1 else parts[0]


@functools.lru_cache(maxsize=2)
def _cached_permutation(seed: int, epoch: int, examples: int, device: torch.device) -> Tensor:
    # A GPU gets an epoch's order once: a copy for every update would make it wait.
    return permutation(seed, epoch, examples).to(device)
