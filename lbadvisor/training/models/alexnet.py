"""AlexNet on one tower, with batch norm: Krizhevsky 2014 (arXiv:1404.5997)."""

from torch import nn

from lbadvisor.training.shape import Shape, require_pixels


def alexnet_bn(shape: Shape, classes: int) -> nn.Module:
    """AlexNet with batch norm, published for 3x224x224 images. (N, C, H, W) -> (N, classes).

    As in the code of Hoffer et al. (github eladhoffer/convNet.pytorch, models/alexnet.py), in its order of layers:
    after the first convolution and in the classifier batch norm comes before the ReLU, elsewhere after it. No layer
    before a batch norm has a bias. The classifier takes whatever pixels the poolings leave (6x6 of 224x224). In torch's
    own initialization: uniform within 1/sqrt(inputs), batch norms at scale 1 (torch drew that from 0 to 1 in 2017).
    Raises `DataError` below 63x63 pixels.
    """
    require_pixels("alexnet_bn", shape, 63)
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 64, 11, stride=4, padding=2, bias=False),
        nn.MaxPool2d(3, stride=2),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.Conv2d(64, 192, 5, padding=2, bias=False),
        nn.MaxPool2d(3, stride=2),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(192),
        nn.Conv2d(192, 384, 3, padding=1, bias=False),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(384),
        nn.Conv2d(384, 256, 3, padding=1, bias=False),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(256),
        nn.Conv2d(256, 256, 3, padding=1, bias=False),
        nn.MaxPool2d(3, stride=2),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(256),
        nn.Flatten(),
        *_hidden(256 * _left(height) * _left(width), 4096),
        *_hidden(4096, 4096),
        nn.Linear(4096, classes),
    )


def _left(pixels: int) -> int:
    """A height or width after the first convolution and the three poolings: 224 -> 55 -> 27 -> 13 -> 6."""
    left = (pixels + 2 * 2 - 11) // 4 + 1
    for _ in range(3):
        left = (left - 3) // 2 + 1
    return left


def _hidden(before: int, after: int) -> list[nn.Module]:
    return [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True), nn.Dropout(0.5)]
