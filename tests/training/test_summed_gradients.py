"""Gradients are summed once an update, in the last pass, and while the others are still computed."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
from lbadvisor.recipe.recipe_tables import Compute
from lbadvisor.training.batch import UpdateBatch
from lbadvisor.training.micro_batches import backward
from lbadvisor.training.models import build_model
from lbadvisor.training.ranks import Ranks
from lbadvisor.training.summed_gradients import distributed

CPU = torch.device("cpu")
ONE_OF_TWO = Ranks(0, 2)


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of this process alone, in which sums are what they are of."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def watched(network: nn.Module, events: list[str], **how: bool) -> DistributedDataParallel:
    """The network, distributed: `events` gets a word for each sum that begins, and each gradient that is ready."""
    forward = distributed(network, ONE_OF_TWO, CPU, **how)
    assert isinstance(forward, DistributedDataParallel)

    def summing(_: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        events.append("sum")
        done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    forward.register_comm_hook(None, summing)
    for parameter in network.parameters():
        parameter.register_hook(lambda _: events.append("gradient"))
    return forward


def batch(size: int, *shape: int) -> UpdateBatch:
    draws = torch.Generator().manual_seed(0)
    return UpdateBatch(torch.randn(size, *shape, generator=draws), torch.arange(size) % 10)


@pytest.mark.usefixtures("group")
def test_gradients_accumulate_over_passes_and_are_summed_in_the_last() -> None:
    """Three passes: the buckets are summed once, and the sums are the gradients of the batch in one piece."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), GhostBatchNorm(8, 4), nn.ReLU(), nn.Linear(8, 10))
    alone = [p.detach().clone().requires_grad_() for p in network.parameters()]
    names, whole = [name for name, _ in network.named_parameters()], batch(12, 6)
    outputs = torch.func.functional_call(network, dict(zip(names, alone, strict=True)), whole.inputs)
    loss = nn.functional.cross_entropy(outputs, whole.targets)
    expected = torch.autograd.grad(loss, alone)
    events: list[str] = []
    forward = watched(network, events)
    for _ in range(2):
        events.clear()
        network.zero_grad(set_to_none=True)
        backward(forward, batch(12, 6), (4, 4, 4), Compute())
        assert events.count("sum") == 1
        assert events[-1] == "sum"
        assert events.count("gradient") == 3 * len(expected)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.usefixtures("group")
def test_sums_begin_before_all_gradients_are_computed() -> None:
    """ResNet-44: its 0.66 million parameters make several buckets, and the first is sent while others are computed."""
    network = build_model("resnet44", (3, 32, 32), 10, {})
    events: list[str] = []
    forward = watched(network, events)
    for _ in range(2):  # the buckets are made anew after the first pass
        events.clear()
        network.zero_grad(set_to_none=True)
        backward(forward, batch(4, 3, 32, 32), (4,), Compute())
    assert events.count("sum") > 1
    before = events[: events.index("sum")].count("gradient")
    assert before < 0.5 * events.count("gradient")


class Partly(nn.Module):
    """One layer is never used, another is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused, self.frozen = nn.Linear(6, 10), nn.Linear(6, 10), nn.Linear(6, 6)
        self.frozen.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(self.frozen(x))


@pytest.mark.usefixtures("group")
def test_own_networks_may_have_parameters_without_gradients() -> None:
    """They keep having none, so that the optimizer leaves them as they are."""
    network = Partly()
    forward = distributed(network, ONE_OF_TWO, CPU, is_own=True)
    for _ in range(3):
        network.zero_grad(set_to_none=True)
        backward(forward, batch(12, 6), (8, 4), Compute())
        assert network.used.weight.grad is not None
        assert network.unused.weight.grad is None
        assert network.frozen.weight.grad is None


@pytest.mark.usefixtures("group")
def test_own_networks_that_use_all_are_not_warned_about(capfd: pytest.CaptureFixture[str]) -> None:
    forward = distributed(nn.Linear(6, 10), ONE_OF_TWO, CPU, is_own=True)
    for _ in range(2):
        backward(forward, batch(12, 6), (12,), Compute())
    assert capfd.readouterr() == ("", "")
