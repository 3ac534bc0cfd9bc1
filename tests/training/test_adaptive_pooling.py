"""Pooling by matrix products is torch's adaptive average pooling, and has a gradient of the same bits on a GPU."""

import pytest
import torch
from torch import nn

from lbadvisor.training.models import build_model
from lbadvisor.training.models.adaptive_pooling import AveragingPool, with_deterministic_pooling


@pytest.mark.parametrize("outputs", [(6, 6), (7, 7), (2, 3)])
@pytest.mark.parametrize("inputs", [(6, 6), (12, 18), (7, 5), (1, 1), (13, 29), (3, 2)])
def test_outputs_and_gradients_are_torchs_whether_or_not_the_image_divides(inputs, outputs):
    torch.manual_seed(0)
    ours, theirs = (torch.randn(3, 4, *inputs, dtype=torch.float64) for _ in range(2))
    theirs.copy_(ours)
    pooled, expected = (
        layer(x.requires_grad_())
        for layer, x in ((AveragingPool(*outputs), ours), (nn.AdaptiveAvgPool2d(outputs), theirs))
    )
    torch.testing.assert_close(pooled, expected, rtol=1e-12, atol=1e-14)
    weights = torch.randn_like(expected)
    (pooled * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-14)


def test_an_image_of_the_wanted_size_is_left_as_it_is():
    x_NCHW = torch.randn(2, 3, 6, 6)
    assert AveragingPool(6, 6)(x_NCHW) is x_NCHW


def test_under_autocast_it_averages_in_float32():
    x_NCHW = torch.full((1, 1, 7, 7), 3.0)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(AveragingPool(3, 3)(x_NCHW), torch.full((1, 1, 3, 3), 3.0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("network", ["alexnet", "vgg11_bn"])
def test_torchvisions_networks_keep_their_outputs_and_weights_and_lose_the_pooling(network):
    torch.manual_seed(0)
    model = build_model(f"torchvision:{network}", (3, 64, 64), 5).eval()
    images_NCHW, names = torch.randn(2, 3, 64, 64), set(model.state_dict())
    with torch.no_grad():
        before = model(images_NCHW)
        after = with_deterministic_pooling(model)(images_NCHW)
    torch.testing.assert_close(after, before)
    assert set(model.state_dict()) == names
    assert not any(isinstance(layer, nn.AdaptiveAvgPool2d) for layer in model.modules())


def test_pooling_to_one_pixel_stays():
    """Torch computes it as a mean, which has a deterministic gradient."""
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((1, 1)))
    kept = list(with_deterministic_pooling(model))
    assert [type(layer) for layer in kept] == [nn.AdaptiveAvgPool2d] * 2
