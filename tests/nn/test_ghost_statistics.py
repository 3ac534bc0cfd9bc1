"""The definitions of ghost batch norm's running statistics, against loops written out by hand in float64."""

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from lbadvisor.batch_cuts import ghost_slices
from lbadvisor.nn.all_ghosts_at_once import AllGhostsAtOnce
from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm, normalize_at_once
from lbadvisor.nn.ghost_statistics import accumulate, statistic_of_ghosts
from lbadvisor.running_statistics import DEFINITIONS

GHOST, CHANNELS, MOMENTUM = 4, 3, 0.2
EVEN, JOINED, OWN = 12, 13, 14  # 3 ghosts of 4; 4 + 4 + 5; 4 + 4 + 4 + 2
COMBINED = ["mean", "mean-biased", "total"]


def batch(examples: int, space: tuple[int, ...] = (3, 5)) -> Tensor:
    """Activations whose mean drifts along the batch, so that the ghosts differ."""
    generator = torch.Generator().manual_seed(2)
    x = 3 + 2 * torch.randn((examples, CHANNELS, *space), generator=generator, dtype=torch.float64)
    return x + torch.linspace(0, 4, examples, dtype=torch.float64).view(-1, *[1] * (x.dim() - 1))


def plain_layer(**settings: object) -> nn.BatchNorm2d:
    torch.manual_seed(1)
    layer = nn.BatchNorm2d(CHANNELS, dtype=torch.float64, momentum=MOMENTUM, **settings)
    with torch.no_grad():
        for value in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
            value.uniform_(0.5, 1.5)
    return layer


def by_hand(definition: str, x: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor, int]:
    """Running mean, running variance and how many updates they had, one plain sum after the other."""
    ghosts = x.transpose(1, -1).reshape(len(x), -1, CHANNELS).split(ghost_slices(len(x), GHOST))
    ghosts = [ghost.reshape(-1, CHANNELS) for ghost in ghosts]

    def moments(values: Tensor, less: int) -> tuple[Tensor, Tensor]:
        center = values.sum(0) / len(values)
        return center, ((values - center) ** 2).sum(0) / (len(values) - less)

    if definition in ("sequential", "per-update"):
        weight = MOMENTUM if definition == "sequential" else MOMENTUM / len(ghosts)
        for ghost in ghosts:
            new_mean, new_var = moments(ghost, 1)
            mean, var = (1 - weight) * mean + weight * new_mean, (1 - weight) * var + weight * new_var
        return mean, var, len(ghosts)
    if definition == "total":
        new_mean, new_var = moments(torch.cat(ghosts), 1)
    else:
        each = [moments(ghost, 1 if definition == "mean" else 0) for ghost in ghosts]
        shares = [len(ghost) / sum(map(len, ghosts)) for ghost in ghosts]
        new_mean = sum(share * m for share, (m, _) in zip(shares, each, strict=True))
        new_var = sum(share * v for share, (_, v) in zip(shares, each, strict=True))
    return (1 - MOMENTUM) * mean + MOMENTUM * new_mean, (1 - MOMENTUM) * var + MOMENTUM * new_var, 1


def at_once(layer: GhostBatchNorm, x: Tensor, form=normalize_at_once) -> Tensor:
    """What the layer does if it is compiled, or off the CPU, computed on it."""
    sizes = ghost_slices(len(x), GHOST)
    affine = layer.weight, layer.bias
    if layer.running_statistics in COMBINED:
        statistics = [torch.full((len(sizes), CHANNELS), torch.nan, dtype=x.dtype) for _ in range(2)]
        y = form(x, *affine, *statistics, sizes, (1.0,) * len(sizes), layer.eps)
        new = statistic_of_ghosts(layer.running_statistics, *statistics, sizes, x[0, 0].numel())
        for running, statistic in zip((layer.running_mean, layer.running_var), new, strict=True):
            accumulate(running, statistic[None], (MOMENTUM,))
        return y
    factor = MOMENTUM / (len(sizes) if layer.running_statistics == "per-update" else 1)
    return form(x, *affine, layer.running_mean, layer.running_var, sizes, (factor,) * len(sizes), layer.eps)


@pytest.mark.parametrize(
    "forward",
    [GhostBatchNorm.__call__, at_once, partial(at_once, form=AllGhostsAtOnce.apply)],
    ids=["slice by slice", "compiled", "GPU"],
)
@pytest.mark.parametrize("examples", [EVEN, JOINED, OWN])
@pytest.mark.parametrize("definition", DEFINITIONS)
def test_running_statistics_are_those_of_their_definition(definition, examples, forward):
    plain = plain_layer()
    ghost = GhostBatchNorm.convert_ghost_batchnorm(copy.deepcopy(plain), GHOST, definition)
    mean, var, updates = by_hand(definition, batch(examples), plain.running_mean, plain.running_var)
    y = forward(ghost, batch(examples))
    torch.testing.assert_close(ghost.running_mean, mean, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(ghost.running_var, var, rtol=1e-13, atol=1e-13)
    if forward is GhostBatchNorm.__call__:
        assert ghost.num_batches_tracked == updates
    expected = torch.cat([plain(part) for part in batch(examples).split(ghost_slices(examples, GHOST))])
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_definitions_differ_and_change_no_output(channels_last):
    x = batch(OWN).float()
    x = x.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    outputs, variances = [], []
    for definition in DEFINITIONS:
        layer = GhostBatchNorm(CHANNELS, GHOST, running_statistics=definition)
        outputs.append(layer(x))
        variances.append(layer.running_var)
    assert all(torch.equal(y, outputs[0]) for y in outputs)
    pairs = [(a, b) for i, a in enumerate(variances) for b in variances[:i]]
    assert not any(torch.allclose(a, b, rtol=1e-3) for a, b in pairs)


def test_the_law_of_total_variance_holds_for_biased_variances():
    """By hand, for the ghosts (0, 2) and (4, 10): means 1 and 7, unbiased variances 2 and 18."""
    mean, var = torch.tensor([[1.0], [7.0]]), torch.tensor([[2.0], [18.0]])
    found = {name: statistic_of_ghosts(name, mean, var, (2, 2), 1) for name in COMBINED}
    assert all(m.item() == 4 for m, _ in found.values())
    assert found["mean"][1].item() == 10  # (2 + 18) / 2
    assert found["mean-biased"][1].item() == 5  # (1 + 9) / 2
    # All four: squares (16 + 4 + 0 + 36) over 3; biased 14 = 5 + the variance 9 of the means 1 and 7.
    assert found["total"][1].item() == pytest.approx(56 / 3)
    assert found["total"][1].item() * 3 / 4 == pytest.approx(5 + 9)


def test_a_ghost_weighs_as_its_examples_do():
    """By hand: 1 weighs 3/4 and 5 weighs 1/4."""
    mean, var = torch.tensor([[1.0], [5.0]]), torch.tensor([[2.0], [6.0]])
    mean_C, var_C = statistic_of_ghosts("mean", mean, var, (6, 2), 10)
    assert (mean_C.item(), var_C.item()) == (2.0, 3.0)


@pytest.mark.parametrize("definition", [name for name in DEFINITIONS if name != "mean-biased"])
def test_one_ghost_is_plain_batch_norm_bit_for_bit(definition):
    plain = plain_layer()
    ghost = GhostBatchNorm.convert_ghost_batchnorm(copy.deepcopy(plain), EVEN, definition)
    assert torch.equal(ghost(batch(EVEN)), plain(batch(EVEN)))
    assert all(torch.equal(a, b) for a, b in zip(ghost.buffers(), plain.buffers(), strict=True))


def test_one_ghost_with_the_biased_variance_is_not_plain_batch_norm():
    """By hand, momentum 1: the values 0 and 2 have the variance 2 unbiased and 1 biased."""
    layer = GhostBatchNorm(1, 2, momentum=1.0, running_statistics="mean-biased")
    layer(torch.tensor([[0.0], [2.0]]))
    assert (layer.running_mean.item(), layer.running_var.item()) == (1.0, 1.0)


@pytest.mark.parametrize("definition", COMBINED)
def test_without_momentum_every_batch_so_far_weighs_the_same(definition):
    """By hand: batches of mean 1, 4 and 7 leave a running mean of 4."""
    layer = GhostBatchNorm(1, 2, momentum=None, running_statistics=definition, dtype=torch.float64)
    for center in (1.0, 4.0, 7.0):
        layer(center + torch.tensor([[-2.0], [1.0], [-1.0], [2.0]], dtype=torch.float64))
    assert layer.running_mean.item() == pytest.approx(4.0, rel=1e-14)
    assert layer.num_batches_tracked == 3


def test_per_update_needs_a_momentum_and_a_definition_is_one_of_the_list():
    with pytest.raises(ValueError, match='running_statistics="per-update" needs a momentum'):
        GhostBatchNorm(1, 2, momentum=None, running_statistics="per-update")
    with pytest.raises(ValueError, match="unknown running statistics `median`: choose from sequential, per-update"):
        GhostBatchNorm(1, 2, running_statistics="median")
    with pytest.raises(ValueError, match="updated ghost by ghost"):
        statistic_of_ghosts("sequential", torch.zeros(1, 1), torch.zeros(1, 1), (2,), 1)


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_a_layer_that_tracks_nothing_keeps_nothing(definition):
    layer = GhostBatchNorm(CHANNELS, GHOST, track_running_stats=False, running_statistics=definition)
    assert layer(batch(OWN).float()).shape == (OWN, CHANNELS, 3, 5)
    assert list(layer.buffers()) == []


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_small_variances_keep_their_precision(definition):
    """A variance of 1e-8 lies far below eps = 1e-5; it is not read off the normalization, but measured."""
    x = 1e-4 * batch(EVEN).float()
    layer = GhostBatchNorm(
        CHANNELS, GHOST, momentum=1.0 if definition in COMBINED else 0.5, running_statistics=definition
    )
    layer.running_var.zero_()
    layer(x)
    exact = GhostBatchNorm(CHANNELS, GHOST, momentum=layer.momentum, running_statistics=definition, dtype=torch.float64)
    exact.running_var.zero_()
    exact(x.double())
    torch.testing.assert_close(layer.running_var.double(), exact.running_var, rtol=1e-5, atol=0)


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_every_definition_goes_through_the_form_for_other_devices(definition):
    """The meta device computes shapes only: no statistic is made on the CPU by mistake."""
    layer = GhostBatchNorm(CHANNELS, GHOST, running_statistics=definition, device="meta")
    y = layer(torch.empty(OWN, CHANNELS, 3, 5, device="meta"))
    assert y.shape == (OWN, CHANNELS, 3, 5)
    assert {(b.device.type, b.numel()) for b in (layer.running_mean, layer.running_var)} == {("meta", CHANNELS)}


@pytest.mark.parametrize("layout", ["contiguous", "interleaved"])
@pytest.mark.parametrize("definition", DEFINITIONS)
def test_under_autocast_the_running_statistics_keep_their_precision(definition, layout):
    """The activations have 8 bits, and their statistics 24: a product in half precision would round those as well."""
    x = batch(EVEN).bfloat16()
    layers = [GhostBatchNorm(CHANNELS, GHOST, running_statistics=definition, layout=layout) for _ in range(2)]
    with torch.autocast("cpu", torch.bfloat16):
        layers[0](x)
    layers[1](x.float())
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(layers[0], name), getattr(layers[1], name), rtol=2e-6, atol=2e-6)
