"""Gradients are summed once an update, in the last pass, and while the others are still computed."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
from lbadvisor.recipe.recipe_tables import Compute
from lbadvisor.training.batch import UpdateBatch
from lbadvisor.training.micro_batches import backward
from lbadvisor.training.models import build_model
from lbadvisor.training.ranks import Ranks
from lbadvisor.training.summed_gradients import SummedGradients, sum_in_halves

CPU = torch.device("cpu")


@pytest.fixture
def group() -> Iterator[None]:
    """A process group of this process alone, in which sums are what they are of."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def summed(network: nn.Module, *, shares: int = 1, is_own: bool = False) -> SummedGradients:
    """The sums of a rank that thinks it is one of two, and has so many shares."""
    ranks = Ranks(0, 2, cut_into=2 * shares)
    return SummedGradients(network, list(network.parameters()), ranks, CPU, is_own=is_own)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gets a word for each sum that begins."""
    events: list[str] = []
    exchange = dist.all_to_all_single

    def exchanging(*given: Any, **named: Any) -> Any:
        if named.get("async_op"):
            events.append("sum")
        return exchange(*given, **named)

    monkeypatch.setattr(dist, "all_to_all_single", exchanging)
    return events


def watch(network: nn.Module, events: list[str]) -> None:
    """Add a word for each gradient that is ready."""
    for parameter in network.parameters():
        parameter.register_hook(lambda _: events.append("gradient"))


def batch(size: int, *shape: int) -> UpdateBatch:
    draws = torch.Generator().manual_seed(0)
    return UpdateBatch(torch.randn(size, *shape, generator=draws), torch.arange(size) % 10)


@pytest.mark.usefixtures("group")
def test_gradients_accumulate_over_passes_and_are_summed_in_the_last(events: list[str]) -> None:
    """Three passes: the buckets are summed once, and the sums are the gradients of the batch in one piece."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), GhostBatchNorm(8, 4), nn.ReLU(), nn.Linear(8, 10))
    alone = [p.detach().clone().requires_grad_() for p in network.parameters()]
    names, whole = [name for name, _ in network.named_parameters()], batch(12, 6)
    outputs = torch.func.functional_call(network, dict(zip(names, alone, strict=True)), whole.inputs)
    loss = nn.functional.cross_entropy(outputs, whole.targets)
    expected = torch.autograd.grad(loss, alone)
    sums = summed(network)
    watch(network, events)
    for _ in range(2):
        events.clear()
        with sums.share(0):
            backward(sums.forward, batch(12, 6), (4, 4, 4), Compute())
        assert events.count("sum") == 1
        assert events[-1] == "sum"
        assert events.count("gradient") == 3 * len(expected)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.usefixtures("group")
def test_sums_begin_before_all_gradients_are_computed(events: list[str]) -> None:
    """ResNet-44: its 0.66 million parameters make several buckets, and the first is sent while others are computed."""
    network = build_model("resnet44", (3, 32, 32), 10, {})
    sums = summed(network)
    watch(network, events)
    for _ in range(2):  # the buckets are made anew after the first pass
        events.clear()
        with sums.share(0):
            backward(sums.forward, batch(4, 3, 32, 32), (4,), Compute())
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
    sums = summed(network, is_own=True)
    for _ in range(3):
        with sums.share(0):
            backward(sums.forward, batch(12, 6), (8, 4), Compute())
        assert network.used.weight.grad is not None
        assert network.unused.weight.grad is None
        assert network.frozen.weight.grad is None


@pytest.mark.usefixtures("group")
def test_own_networks_that_use_all_are_not_warned_about(capfd: pytest.CaptureFixture[str]) -> None:
    sums = summed(nn.Linear(6, 10), is_own=True)
    for _ in range(2):
        with sums.share(0):
            backward(sums.forward, batch(12, 6), (12,), Compute())
    assert capfd.readouterr() == ("", "")


def test_sums_are_taken_in_halves_whoever_has_the_terms() -> None:
    """Five and eight float32 numbers whose sum depends on the order; equal stretches of eight have the same bits."""
    terms = [torch.tensor(value) for value in (1.0, 2**-24, 2**-24, 2**-24, 2**-24)]
    a, b, c, d, e = terms
    assert torch.equal(sum_in_halves(terms), (a + b) + (c + (d + e)))
    assert not torch.equal(sum_in_halves(terms), sum(terms, start=torch.tensor(0.0)))
    eight = list(torch.randn(8, 1000, generator=torch.Generator().manual_seed(1)))
    for ranks in (1, 2, 4, 8):
        each = 8 // ranks
        rows = [sum_in_halves(eight[rank * each : (rank + 1) * each]) for rank in range(ranks)]
        assert torch.equal(sum_in_halves(rows), sum_in_halves(eight))
    twelve = list(torch.randn(12, 1000, generator=torch.Generator().manual_seed(1)))
    for ranks in (2, 4):
        each = 12 // ranks
        rows = [sum_in_halves(twelve[rank * each : (rank + 1) * each]) for rank in range(ranks)]
        assert torch.equal(sum_in_halves(rows), sum_in_halves(twelve))


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("several", [False, True], ids=["alone", "one of two"])
def test_the_gradients_of_shares_are_summed_in_halves(several: bool) -> None:
    """Of six shares, two passes each: a parameter without a gradient in some of them has the sum of the others."""
    network = Partly()
    names = ("weight", "bias")
    shares = list(batch(24, 6).cut((4,) * 6))
    expected: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    for part in shares:
        network.zero_grad(set_to_none=True)
        backward(network, part, (2, 2), Compute())
        for name in names:
            gradient = getattr(network.used, name).grad
            assert gradient is not None
            expected[name].append(gradient)
    ranks = Ranks(0, 2, cut_into=12) if several else Ranks(cut_into=6)
    sums = SummedGradients(network, list(network.parameters()), ranks, CPU, is_own=True)
    for _ in range(3):
        for number, part in enumerate(shares):
            with sums.share(number):
                backward(sums.forward, part, (2, 2), Compute())
        for name in names:
            assert torch.equal(getattr(network.used, name).grad, sum_in_halves(expected[name]))
        assert network.unused.weight.grad is None


class Sometimes(nn.Module):
    """A second layer is used only by batches whose first number is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.at_times = nn.Linear(6, 10), nn.Linear(6, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.always(x) + (self.at_times(x) if x[0, 0] > 0 else 0)


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("several", [False, True], ids=["alone", "one of two"])
def test_a_parameter_may_have_gradients_in_some_shares_only(several: bool) -> None:
    """In the second of four."""
    network = Sometimes()
    shares = list(batch(16, 6).cut((4,) * 4))
    for number, part in enumerate(shares):
        part.inputs[0, 0] = 1.0 if number == 1 else -1.0
    backward(network, shares[1], (4,), Compute())
    expected = network.at_times.weight.grad
    assert expected is not None
    ranks = Ranks(0, 2, cut_into=8) if several else Ranks(cut_into=4)
    sums = SummedGradients(network, list(network.parameters()), ranks, CPU, is_own=True)
    for _ in range(2):
        for number, part in enumerate(shares):
            with sums.share(number):
                backward(sums.forward, part, (4,), Compute())
        assert network.at_times.weight.grad is not None
        assert torch.equal(network.at_times.weight.grad, expected)


@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("several", [False, True], ids=["alone", "one of two"])
def test_shares_of_convolutions_with_the_channels_innermost_are_summed(several: bool) -> None:
    """Their gradients lie in another order in memory than their shape says."""
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 7, 3), nn.Flatten(), nn.Linear(112, 10))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shares = list(batch(16, 3, 8, 8).cut((4,) * 4))
    expected: list[list[torch.Tensor]] = []
    for part in shares:
        network.zero_grad(set_to_none=True)
        backward(network, part, (4,), Compute())
        expected.append([p.grad for p in network.parameters() if p.grad is not None])
    ranks = Ranks(0, 2, cut_into=8) if several else Ranks(cut_into=4)
    sums = SummedGradients(network, list(network.parameters()), ranks, CPU)
    for _ in range(3):
        for number, part in enumerate(shares):
            with sums.share(number):
                backward(sums.forward, part, (4,), Compute())
        for parameter, gradients in zip(network.parameters(), zip(*expected, strict=True), strict=True):
            assert parameter.grad is not None
            assert torch.equal(parameter.grad, sum_in_halves(gradients))
