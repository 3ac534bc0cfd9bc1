"""The networks: their parameters counted by hand, what they take and return, how they begin."""

import pytest
import torch
from torch import nn

from lbadvisor.errors import DataError
from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
from lbadvisor.recipe.catalog import NETWORKS
from lbadvisor.training.models import MODELS
from lbadvisor.training.models.resnet import resnet

SMALL = {"c1": (3, 7, 7), "c3": (3, 7, 7), "vgg16": (3, 32, 32), "alexnet_bn": (3, 63, 63)}
"""The smallest images of the networks that have a least size; every other network takes these here:"""
ANY = (2, 6, 5)


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors are slower on many threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def images(shape: tuple[int, int, int], examples: int = 4) -> torch.Tensor:
    return torch.randn(examples, *shape, generator=torch.Generator().manual_seed(0))


def built(name: str, classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name](SMALL.get(name, ANY), classes)


def test_the_catalogue_and_the_networks_have_the_same_names():
    assert list(MODELS) == list(NETWORKS)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters"),
    [
        # 3 * (64 * 64 + 64) linear, 3 * 2 * 64 batch norm, 64 * 10 + 10
        ("digits_mlp", (1, 8, 8), 10, 12_480 + 384 + 650),
        # 784 * 512 + 512, 4 * (512 * 512 + 512), 5 * 2 * 512 batch norm, 512 * 10 + 10
        ("f1", (1, 28, 28), 10, 401_920 + 1_050_624 + 5_120 + 5_130),
        # 3 * 64 * 25 and 64 * 64 * 25 convolutions, 64 * 7 * 7 * 384 and 384 * 192 linear, 2 * (64 + 64 + 384 + 192)
        # batch norm, 192 * 10 + 10
        ("c1", (3, 32, 32), 10, 4_800 + 102_400 + 1_204_224 + 73_728 + 1_408 + 1_930),
        ("c3", (3, 32, 32), 100, 4_800 + 102_400 + 1_204_224 + 73_728 + 1_408 + 19_300),
        # 9 * (3*64 + 64*64 + 64*128 + 128*128 + 128*256 + 2*256*256 + 256*512 + 5*512*512) convolutions, their 4224
        # biases, 2 * 4224 batch norm, 512 * 4096 + 4096, 4096 * 4096 + 4096, 4096 * 10 + 10
        ("vgg16", (3, 32, 32), 10, 14_710_464 + 4_224 + 8_448 + 2_101_248 + 16_781_312 + 40_970),
        # Stem 432 + 32; n blocks of 2 * (9*16*16 + 32) = 4672; a block 9*16*32 + 9*32*32 + 128 = 13952, its shortcut
        # 16*32 + 64 = 576, n-1 of 2 * (9*32*32 + 64) = 18560; a block 9*32*64 + 9*64*64 + 256 = 55552, its shortcut
        # 32*64 + 128 = 2176, n-1 of 2 * (9*64*64 + 128) = 73984; 64 * 10 + 10.
        ("resnet20", (3, 32, 32), 10, 464 + 3 * 4_672 + 14_528 + 2 * 18_560 + 57_728 + 2 * 73_984 + 650),
        ("resnet32", (3, 32, 32), 10, 464 + 5 * 4_672 + 14_528 + 4 * 18_560 + 57_728 + 4 * 73_984 + 650),
        ("resnet44", (3, 32, 32), 10, 661_338),
        ("resnet56", (3, 32, 32), 10, 464 + 9 * 4_672 + 14_528 + 8 * 18_560 + 57_728 + 8 * 73_984 + 650),
        ("resnet110", (3, 32, 32), 10, 464 + 18 * 4_672 + 14_528 + 17 * 18_560 + 57_728 + 17 * 73_984 + 650),
        # The paper's 2.7M. Stem 432; stages 47264 + 73984, 229760 + 295424, 918272 + 1180672; last batch norm 512;
        # 256 * 10 + 10. (First block: 32 + 9*16*64 + 128 + 9*64*64 + 16*64 = 47264.)
        ("wrn16_4", (3, 32, 32), 10, 2_748_890),
        # 3*64*121, 64*192*25, 9*192*384, 9*384*256, 9*256*256 convolutions, 2 * (64+192+384+256+256+4096+4096) batch
        # norm, 256*6*6*4096, 4096*4096, 4096*1000 + 1000
        (
            "alexnet_bn",
            (3, 224, 224),
            1000,
            23_232 + 307_200 + 663_552 + 884_736 + 589_824 + 18_688 + 37_748_736 + 16_777_216 + 4_097_000,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_network_has_the_parameters_of_the_published_one(name, shape, classes, parameters):
    with torch.device("meta"):
        network = MODELS[name](shape, classes)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("name", MODELS)
def test_a_network_takes_its_shape_and_trains_every_parameter(name):
    network = built(name, classes=3)
    logits = network(images(SMALL.get(name, ANY)))
    assert logits.shape == (4, 3)
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    for parameter, value in network.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.isfinite().all(), parameter


@pytest.mark.parametrize("name", MODELS)
def test_channels_last_changes_the_memory_and_not_the_result(name):
    network = built(name).double().eval()
    x = images(SMALL.get(name, ANY)).double()
    expected = network(x)
    found = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_decides_the_weights(name):
    first, second = built(name).state_dict(), built(name).state_dict()
    assert all(torch.equal(second[key], value) for key, value in first.items())
    torch.manual_seed(1)
    other = MODELS[name](SMALL.get(name, ANY), 3)
    assert not torch.equal(next(other.parameters()), next(iter(first.values())))


@pytest.mark.parametrize("name", MODELS)
def test_the_catalogue_knows_which_networks_have_batch_norm_to_convert(name):
    network = built(name)
    kinds = {type(m) for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    assert bool(kinds) == NETWORKS[name].batch_norm
    assert kinds <= {nn.BatchNorm1d, nn.BatchNorm2d}


@pytest.mark.parametrize("name", ["digits_mlp", "c1", "resnet20", "wrn16_4"])
def test_a_network_of_one_ghost_is_the_network_itself_and_of_two_is_another(name):
    x = images(SMALL.get(name, ANY), examples=8)
    plain = built(name)
    one, two = (GhostBatchNorm.convert_ghost_batchnorm(built(name), size) for size in (8, 4))
    outputs = []
    for network in (plain, one, two):
        torch.manual_seed(5)  # of the dropout
        outputs.append(network(x))
    assert torch.equal(outputs[1], outputs[0])
    assert not torch.allclose(outputs[2], outputs[0], rtol=1e-2)


@pytest.mark.parametrize(("name", "least"), [("c1", 7), ("c3", 7), ("vgg16", 32), ("alexnet_bn", 63)])
def test_images_too_small_for_the_strides_are_an_error_that_says_how_large(name, least):
    with pytest.raises(
        DataError, match=rf"{name} cannot take images of 80x{least - 1} pixels.*at least {least}x{least}"
    ):
        MODELS[name]((3, 80, least - 1), 10)
    with torch.device("meta"):
        logits = MODELS[name]((3, 80, least), 10).eval()(torch.empty(2, 3, 80, least))
    assert logits.shape == (2, 10)


@pytest.mark.parametrize("depth", [2, 18, 45])
def test_a_residual_network_for_small_images_has_6n_plus_2_layers(depth):
    with pytest.raises(ValueError, match=f"6n\\+2 layers: 8, 14, 20, ..., not {depth}"):
        resnet(depth)


@pytest.mark.parametrize(
    ("name", "convolutions", "linear"),
    [
        ("resnet20", 19 + 2, 1),
        ("resnet44", 43 + 2, 1),
        ("resnet110", 109 + 2, 1),
        ("wrn16_4", 16, 1),
        ("vgg16", 13, 3),
        ("alexnet_bn", 5, 3),
        ("c1", 2, 3),
        ("f1", 0, 6),
    ],
)
def test_a_network_has_the_layers_of_its_name(name, convolutions, linear):
    """The 1x1 convolutions of the shortcuts do not count in a ResNet's depth, and do in a wide one's."""
    modules = list(built(name).modules())
    assert sum(isinstance(m, nn.Conv2d) for m in modules) == convolutions
    assert sum(isinstance(m, nn.Linear) for m in modules) == linear


@pytest.mark.parametrize("name", ["vgg16", "resnet44", "wrn16_4"])
def test_convolutions_begin_with_the_variance_of_he(name):
    """Drawn from N(0, 2 / (k k outputs)): the standardized weights have mean 0, variance 1 and kurtosis 3."""
    network = built(name)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    scaled = [m.weight.flatten() * (m.kernel_size[0] ** 2 * m.out_channels / 2) ** 0.5 for m in convolutions]
    standardized = torch.cat(scaled).double()
    assert standardized.mean().item() == pytest.approx(0, abs=0.01)
    assert standardized.var().item() == pytest.approx(1, abs=0.01)
    assert standardized.pow(4).mean().item() == pytest.approx(3, abs=0.05)
    assert all(m.bias is None or not m.bias.any() for m in convolutions)


def test_a_resnet_without_residuals_is_its_shortcuts():
    network = built("resnet20").eval()
    stem, blocks, head = network[:3], network[3:-3], network[-1]
    x = images(ANY)
    expected = stem(x)
    for block in blocks:
        nn.init.zeros_(block.residual[-1].weight)
        expected = nn.functional.relu(block.shortcut(expected))
    torch.testing.assert_close(network(x), head(expected.mean((2, 3))))
    assert [tuple(block.shortcut(torch.zeros(1, 16, 8, 8)).shape[1:]) for block in blocks[:4]][-1] == (32, 4, 4)


def test_a_wide_resnet_without_residuals_is_its_projections_of_the_activated_input():
    network = built("wrn16_4").eval()
    x = images(ANY)
    expected = network[0](x)
    for block in network[1:-5]:
        nn.init.zeros_(block.residual[-1].weight)
        if block.projection is not None:
            expected = block.projection(nn.functional.relu(block.first_norm(expected)))
    expected = nn.functional.relu(network[-5](expected)).mean((2, 3))
    torch.testing.assert_close(network(x), network[-1](expected))
    assert not network[-1].bias.any()
