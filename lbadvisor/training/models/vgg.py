"""VGG for small images, with batch norm: Simonyan, Zisserman 2014 (arXiv:1409.1556)."""

from torch import nn

from lbadvisor.training.models.initialization import initialize_he
from lbadvisor.training.shape import Shape, require_pixels

CONFIGURATION_D = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the 3x3 convolutions between poolings: Table 1 of the paper, column D."""


def vgg16(shape: Shape, classes: int) -> nn.Module:
    """Configuration D with batch norm after every convolution. (N, C, H, W) -> (N, classes).

    The paper's table does not say which VGG it is, and the released code has none; this is that of the same author's
    later code (github eladhoffer/convNet.pytorch, models/vgg.py): the five poolings leave one pixel of 32x32, and the
    classifier is the paper's two layers of 4096 with dropout 0.5, without batch norm. Larger images are averaged over
    the pixels that are left. He initialization, as Zagoruyko's VGG for CIFAR has it (github szagoruyko/cifar.torch).
    Raises `DataError` below 32x32 pixels.
    """
    require_pixels("vgg16", shape, 32)
    layers: list[nn.Module] = []
    before = shape[0]
    for stage in CONFIGURATION_D:
        for after in stage:
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
            before = after
        layers.append(nn.MaxPool2d(2))
    network = nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        *_hidden(before, 4096),
        *_hidden(4096, 4096),
        nn.Linear(4096, classes),
    )
    initialize_he(network)
    return network


def _hidden(before: int, after: int) -> list[nn.Module]:
    return [nn.Linear(before, after), nn.ReLU(inplace=True), nn.Dropout(0.5)]
