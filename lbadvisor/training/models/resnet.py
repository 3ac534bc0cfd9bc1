"""Residual networks for small images: He et al. 2016 (arXiv:1512.03385), section 4.2."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.functional import relu

from lbadvisor.training.models.initialization import initialize_he
from lbadvisor.training.shape import Shape


def resnet(depth: int) -> Callable[[Shape, int], nn.Module]:
    """Builder of the network with `depth` = 6n+2 layers: three stages of n blocks with 16, 32 and 64 channels.

    The network maps (N, C, H, W) to (N, classes). When the channels double, the shortcut is a strided 1x1 convolution
    with batch norm, as in the code released with Hoffer et al. 2017 (github eladhoffer/bigBatch, models/resnet.py),
    whose table is the reference here; He et al. pad with zeros instead (option A), which saves 2752 parameters.
    He initialization. Raises `ValueError` for another depth.
    """
    blocks, rest = divmod(depth - 2, 6)
    if blocks < 1 or rest:
        raise ValueError(f"a residual network for small images has 6n+2 layers: 8, 14, 20, ..., not {depth}")

    def build(shape: Shape, classes: int) -> nn.Module:
        layers: list[nn.Module] = [
            nn.Conv2d(shape[0], 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
        ]
        before = 16
        for after in (16, 32, 64):
            for _ in range(blocks):
                layers.append(_Block(before, after))
                before = after
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))
        initialize_he(network)
        return network

    return build


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the first has stride 2 if the channels change."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.residual = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut = (
            nn.Identity()
            if before == after
            else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        )

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.residual(x) + self.shortcut(x), inplace=True)
