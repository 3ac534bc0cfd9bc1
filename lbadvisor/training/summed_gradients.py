"""Sums gradients over the shares of a batch: those of this process, and of the ranks that train together.

The sum is taken in halves, ((a + b) + (c + d)) of four shares, so its bits are the same whichever rank computes which.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Generic, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from lbadvisor.batch_cuts import sums_ending_with
from lbadvisor.training.compilation import Forward
from lbadvisor.training.ranks import Ranks, gathered, naming_lost_ranks

Term = TypeVar("Term")
ParameterGradients = dict[Tensor, Tensor]
"""Those of parameters, by parameter; of the ones that have any."""


class Halves(Generic[Term]):
    """The sum of `count` terms as they come, taken in halves; `added` is the sum of two."""

    def __init__(self, count: int, added: Callable[[Term, Term], Term]) -> None:
        self._ending, self._added = iter(sums_ending_with(count)), added
        self.open: list[Term] = []

    def add(self, term: Term) -> None:
        """The next one. `open` are then the sums of stretches that wait for their other half; in the end, the total."""
        for _ in range(next(self._ending)):
            term = self._added(self.open.pop(), term)
        self.open.append(term)


def sum_in_halves(terms: Sequence[Tensor]) -> Tensor:
    """The sum of tensors of one shape, taken in halves."""
    sums = Halves[Tensor](len(terms), torch.add)
    for term in terms:
        sums.add(term)
    return sums.open[0]


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
        self._shares, self._exchange = len(ranks.own_shares), _Exchange()
        self._sums = Halves(self._shares, _added)
        if ranks.are_several:
            self.forward = _distributed(forward, device, is_own=is_own)
            self.forward.register_comm_hook(None, self._exchange.begin)

    @contextmanager
    def share(self, number: int) -> Iterator[None]:
        """While entered, the share `number` of this process, counted from 0, goes through the network, in order."""
        if number == 0:
            self._sums = Halves(self._shares, _added)
        # What the optimizer's own method does, in a fraction of its time.
        for parameter in self._parameters:
            parameter.grad = None
        if number < self._shares - 1:
            with _kept_here(self.forward):
                yield
            self._sums.add(_gradients_of(self._parameters))
        elif isinstance(self.forward, DistributedDataParallel):
            self._exchange.earlier = self._sums.open
            if self._is_own:
                # torch expects a gradient of each parameter that was used since it last summed them.
                for parameter in {parameter for gradients in self._sums.open for parameter in gradients}:
                    parameter.grad = torch.zeros_like(parameter)
            yield
            self._exchange.end()
        else:
            yield
            if number:
                self._sums.add(_gradients_of(self._parameters))
                for parameter, gradient in self._sums.open[0].items():
                    parameter.grad = gradient


class _Exchange:
    """How ranks sum gradients: each has a part of every bucket from all, and gives the part's sum to all.

    A bucket is the gradients of some parameters in a row. To those of a rank's last share its `earlier` sums are added.
    """

    def __init__(self) -> None:
        self.earlier: list[ParameterGradients] = []
        self._received: list[tuple[Tensor, Tensor]] = []

    def begin(self, _: object, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
        """Send each rank its part of the bucket, while the backward pass still computes others."""
        # Those of its parameters are views of it by now, in the memory format of each.
        mine = _gradients_of(bucket.parameters())
        for gradients in reversed(self.earlier):
            _added({parameter: gradients[parameter] for parameter in mine if parameter in gradients}, mine)
        buffer: Tensor = bucket.buffer()
        ranks = dist.get_world_size()
        rest = -len(buffer) % ranks
        parts = torch.nn.functional.pad(buffer, (0, rest)) if rest else buffer
        rows = torch.empty_like(parts)
        self._received.append((buffer, rows.view(ranks, -1)))
        work = dist.all_to_all_single(rows, parts, async_op=True)
        assert work

        def sent(done: torch.futures.Future[Tensor]) -> Tensor:
            done.value()  # raises what sending did
            return buffer

        future: torch.futures.Future[Tensor] = work.get_future().then(sent)
        return future

    def end(self) -> None:
        """Behind the backward pass: sum this rank's parts, and have the sums of the others."""
        for buffer, rows in self._received:
            buffer.copy_(gathered(sum_in_halves(rows.unbind())).flatten()[: len(buffer)])
        self._received.clear()


def _gradients_of(parameters: Iterable[Tensor]) -> ParameterGradients:
    return {parameter: parameter.grad for parameter in parameters if parameter.grad is not None}


def _added(earlier: ParameterGradients, later: ParameterGradients) -> ParameterGradients:
    """Their sum, in the memory of the later ones."""
    both = [parameter for parameter in earlier if parameter in later]
    if both:
        torch._foreach_add_([later[parameter] for parameter in both], [earlier[parameter] for parameter in both])
    return earlier | later


@contextmanager
def _kept_here(forward: Forward) -> Iterator[None]:
    """While entered, no gradient is sent to other ranks."""
    if not isinstance(forward, DistributedDataParallel):
        yield
        return
    with forward.no_sync():
        yield


@contextmanager
def passing(forward: Forward, *, is_last: bool) -> Iterator[None]:
    """While entered, a backward pass sends gradients to other ranks if it `is_last`, and else keeps them here."""
    with naming_lost_ranks(), nullcontext() if is_last else _kept_here(forward):
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
