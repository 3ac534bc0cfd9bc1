"""The shallow convolutional network of Keskar et al. 2017 (arXiv:1609.04836)."""

from torch import nn

from lbadvisor.training.shape import Shape, require_pixels


def c1(shape: Shape, classes: int) -> nn.Module:
    """C1, published for CIFAR-10: two convolutions of 64, then 384 and 192 units. (N, C, H, W) -> (N, classes).

    As in the code released with Hoffer et al. 2017 (github eladhoffer/bigBatch, models/cifar_shallow.py), whose table
    is the reference here: pooling comes before batch norm and is not padded (32 -> 15 -> 7 pixels), no layer before a
    batch norm has a bias. Keskar's own code normalizes before it pools, and pads (32 -> 16 -> 8). In torch's own
    initialization: uniform within 1/sqrt(inputs), batch norms at scale 1 (torch drew that from 0 to 1 in 2017).
    Raises `DataError` below 7x7 pixels.
    """
    return _shallow("c1", shape, classes)


def c3(shape: Shape, classes: int) -> nn.Module:
    """C3: the network of C1, published for CIFAR-100. (N, C, H, W) -> (N, classes); raises as `c1` does."""
    return _shallow("c3", shape, classes)


def _shallow(name: str, shape: Shape, classes: int) -> nn.Sequential:
    require_pixels(name, shape, 7)
    channels, height, width = shape
    return nn.Sequential(
        *_pooled_convolution(channels, 64),
        *_pooled_convolution(64, 64),
        nn.Flatten(),
        *_hidden(64 * _pooled(_pooled(height)) * _pooled(_pooled(width)), 384),
        *_hidden(384, 192),
        nn.Linear(192, classes),
    )


def _pooled_convolution(before: int, after: int) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, 5, padding=2, bias=False),
        nn.MaxPool2d(3, stride=2),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    ]


def _pooled(pixels: int) -> int:
    return (pixels - 3) // 2 + 1


def _hidden(before: int, after: int) -> list[nn.Module]:
    return [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True), nn.Dropout(0.5)]
