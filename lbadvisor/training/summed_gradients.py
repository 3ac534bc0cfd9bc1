"""Sums gradients over the shares of a batch: those of this process, and of the ranks that train together.

The sum is taken in halves, ((a + b) + (c + d)) of four shares, so its bits are the same whichever rank computes which.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from lbadvisor.batch_cuts import sums_ending_with
from lbadvisor.training.compilation import Forward
from lbadvisor.training.ranks import Ranks, naming_lost_ranks

ByParameter = dict[Tensor, Tensor]
"""By parameter; those that have one."""


def sum_in_halves(terms: Sequence[Tensor]) -> Tensor:
    """The sum of tensors of one shape, taken in halves."""
    sums: list[Tensor] = []
    for term, ending in zip(terms, sums_ending_with(len(terms)), strict=True):
        total = term
        for _ in range(ending):
            total = sums.pop() + total
        sums.append(total)
    return sums.pop()


class SummedGradients:
    """Leaves in the parameters, at each update, the gradients summed over all shares of its batch.

    `forward` is what the shares go through: the network given, distributed if there are several ranks.
    """

    def __init__(
        self,
        forward: Forward,
        parameters: Sequence[Tensor],
        ranks: Ranks,
        device: torch.device,
        *,
        is_own: bool = False,
    ) -> None:
        """One of the user's own networks may have parameters without a gradient, always or at times: it `is_own`."""
        self.forward, self._parameters, self._is_own = forward, parameters, is_own
        self._ending = sums_ending_with(len(ranks.own_shares))
        self._earlier: list[ByParameter] = []
        self._exchange = _Exchange(self._earlier)
        if ranks.are_several:
            self.forward = _distributed(forward, device, is_own=is_own)
            self.forward.register_comm_hook(None, self._exchange.begin)

    @contextmanager
    def share(self, number: int) -> Iterator[None]:
        """While entered, the share `number` of this process, counted from 0, goes through the network, in order."""
        if number:
            self._earlier.append({p: p.grad for p in self._parameters if p.grad is not None})
        # What the optimizer's own method does, in a fraction of its time.
        for parameter in self._parameters:
            parameter.grad = None
        is_last, network = number == len(self._ending) - 1, self.forward
        if not isinstance(network, DistributedDataParallel):
            yield
        elif is_last:
            if self._is_own:
                # torch expects a gradient of each parameter that was used since it last summed them.
                for parameter in {parameter for gradients in self._earlier for parameter in gradients}:
                    parameter.grad = torch.zeros_like(parameter)
            yield
            self._exchange.end()
            self._earlier.clear()
            return
        else:
            with network.no_sync():
                yield
        for _ in range(self._ending[number]):
            _add(self._earlier.pop())


class _Exchange:
    """How ranks sum gradients: each has a part of every bucket from all, and gives the part's sum to all.

    A bucket is the gradients of some parameters in a row. To those of a rank's last share its `earlier` sums are added.
    """

    def __init__(self, earlier: list[ByParameter]) -> None:
        self._earlier = earlier
        self._received: list[tuple[Tensor, Tensor]] = []

    def begin(self, _: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
        """Send each rank its part of the bucket, while the backward pass still computes others."""
        # Those of its parameters are views of it by now, in the memory format of each.
        mine = bucket.parameters()
        for gradients in reversed(self._earlier):
            _add({parameter: gradients[parameter] for parameter in mine if parameter in gradients})
        buffer, ranks = bucket.buffer(), dist.get_world_size()
        parts = torch.nn.functional.pad(buffer, (0, -len(buffer) % ranks))
        rows = torch.empty_like(parts)
        self._received.append((buffer, rows.view(ranks, -1)))
        work = dist.all_to_all_single(rows, parts, async_op=True)
        assert work
        sent: torch.futures.Future[Tensor] = work.get_future().then(lambda _: buffer)
        return sent

    def end(self) -> None:
        """Behind the backward pass: sum this rank's parts, and have the sums of the others."""
        with naming_lost_ranks():
            for buffer, rows in self._received:
                sums = torch.empty_like(rows)
                dist.all_gather(list(sums.unbind()), sum_in_halves(rows.unbind()))
                buffer.copy_(sums.flatten()[: len(buffer)])
        self._received.clear()


def _add(earlier: ByParameter) -> None:
    """Add the gradients of earlier shares to those of the parameters."""
    both = []
    for parameter, gradient in earlier.items():
        if parameter.grad is None:
            parameter.grad = gradient
        else:
            both.append((parameter.grad, gradient))
    if both:
        torch._foreach_add_(*map(list, zip(*both, strict=True)))


@contextmanager
def passing(forward: Forward, *, is_last: bool) -> Iterator[None]:
    """While entered, a backward pass sends gradients to other ranks if it `is_last`, and else keeps them here."""
    with naming_lost_ranks():
        if isinstance(forward, DistributedDataParallel) and not is_last:
            with forward.no_sync():
                yield
        else:
            yield


def _distributed(forward: Forward, device: torch.device, *, is_own: bool) -> DistributedDataParallel:
    """The network, whose gradients torch gives to a hook as they are computed.

    Batch norm's statistics are not torch's to spread: see `shared_statistics`.
    """
    assert isinstance(forward, torch.nn.Module)
    with naming_lost_ranks():
        return DistributedDataParallel(
            _WithUnused(forward, device) if is_own else forward,
            device_ids=[device] if device.type == "cuda" else None,
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
