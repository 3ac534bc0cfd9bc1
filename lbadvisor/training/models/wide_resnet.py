"""Wide residual networks: Zagoruyko, Komodakis 2016 (arXiv:1605.07146)."""

from torch import Tensor, nn
from torch.nn.functional import relu

from lbadvisor.training.models.initialization import initialize_he
from lbadvisor.training.shape import Shape


def wrn16_4(shape: Shape, classes: int) -> nn.Module:
    """WRN-16-4 without dropout: three stages of two blocks with 64, 128 and 256 channels. (N, C, H, W) -> (N, classes).

    As the authors built it (github szagoruyko/wide-residual-networks, models/wide-resnet.lua): batch norm and ReLU
    come before each convolution, and a shortcut that changes the channels is a 1x1 convolution of the activated input.
    He initialization, the last layer's bias at 0. The code released with Hoffer et al. 2017 (models/wide_resnet.py) has
    another network of this name, with batch norm after the convolutions and 64 channels in the first; their table cites
    this one.
    """
    layers: list[nn.Module] = [nn.Conv2d(shape[0], 16, 3, padding=1, bias=False)]
    before = 16
    for after, stride in ((64, 1), (128, 2), (256, 2)):
        layers += [_Block(before, after, stride), _Block(after, after, 1)]
        before = after
    head = nn.Linear(before, classes)
    nn.init.zeros_(head.bias)
    network = nn.Sequential(
        *layers, nn.BatchNorm2d(before), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head
    )
    initialize_he(network)
    return network


class _Block(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first_norm = nn.BatchNorm2d(before)
        self.residual = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
        )
        self.projection = None if before == after else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = relu(self.first_norm(x), inplace=True)
        residual: Tensor = self.residual(activated)
        return residual + (x if self.projection is None else self.projection(activated))
