"""Sums gradients over the ranks that train together, while the backward pass still computes the others."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch.nn.parallel import DistributedDataParallel

from lbadvisor.training.compilation import Forward
from lbadvisor.training.ranks import Ranks, naming_lost_ranks


def distributed(forward: Forward, ranks: Ranks, device: torch.device) -> Forward:
    """`forward`, a network, whose backward pass leaves in each parameter the mean of all ranks' gradients.

    Alone it is `forward` itself. Batch norm's statistics are not torch's to spread: see `shared_statistics`.
    """
    if not ranks.are_several:
        return forward
    assert isinstance(forward, torch.nn.Module)
    devices = [device] if device.type == "cuda" else None
    with naming_lost_ranks():
        return DistributedDataParallel(
            forward, device_ids=devices, forward_sync_buffers=False, gradient_as_bucket_view=True
        )


@contextmanager
def summing(forward: Forward, *, is_last: bool) -> Iterator[int]:
    """While entered, a backward pass sums the gradients over the ranks if it `is_last`, and else keeps them here.

    Gives what its loss is to be multiplied by: the ranks' gradients are divided by their number.
    """
    with naming_lost_ranks():
        if not isinstance(forward, DistributedDataParallel):
            yield 1
            return
        with nullcontext() if is_last else forward.no_sync():
            yield forward.process_group.size()
