"""Sums gradients over the ranks that train together, while the backward pass still computes the others."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from lbadvisor.training.compilation import Forward
from lbadvisor.training.ranks import Ranks, naming_lost_ranks


def distributed(forward: Forward, ranks: Ranks, device: torch.device, *, is_own: bool = False) -> Forward:
    """`forward`, a network, whose backward pass leaves in each parameter the mean of all ranks' gradients.

    Alone it is `forward` itself. One of the user's own may have parameters without a gradient, always or at times: it
    `is_own`. Batch norm's statistics are not torch's to spread: see `shared_statistics`.
    """
    if not ranks.are_several:
        return forward
    assert isinstance(forward, torch.nn.Module)
    devices = [device] if device.type == "cuda" else None
    if is_own:
        forward = _WithUnused(forward, device)
    with naming_lost_ranks():
        return DistributedDataParallel(
            forward,
            device_ids=devices,
            forward_sync_buffers=False,
            gradient_as_bucket_view=True,
            find_unused_parameters=is_own,
        )


class _WithUnused(torch.nn.Module):
    """A network with one more parameter, which is never used.

    torch looks for unused ones only if told to, and if there are none, warns of that on stderr.
    """

    def __init__(self, network: torch.nn.Module, device: torch.device) -> None:
        super().__init__()
        self.network, self.unused = network, torch.nn.Parameter(torch.zeros(1, device=device))

    def forward(self, inputs: Tensor) -> Tensor:
        """The network's outputs."""
        outputs: Tensor = self.network(inputs)
        return outputs


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
