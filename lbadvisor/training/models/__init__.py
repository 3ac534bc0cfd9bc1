"""The networks that `lbadvisor` trains, by the names of `lbadvisor.recipe.catalog.NETWORKS`, and torchvision's."""

from collections.abc import Callable

from torch import nn

from lbadvisor.recipe.catalog import TORCHVISION
from lbadvisor.training.models.alexnet import alexnet_bn
from lbadvisor.training.models.from_torchvision import torchvision_network
from lbadvisor.training.models.keskar import c1, c3
from lbadvisor.training.models.mlp import digits_mlp, f1
from lbadvisor.training.models.resnet import resnet
from lbadvisor.training.models.vgg import vgg16
from lbadvisor.training.models.wide_resnet import wrn16_4
from lbadvisor.training.shape import Shape

__all__ = ["MODELS", "Shape", "build_model"]

MODELS: dict[str, Callable[[Shape, int], nn.Module]] = {
    "digits_mlp": digits_mlp,
    "f1": f1,
    "c1": c1,
    "c3": c3,
    "vgg16": vgg16,
    "resnet20": resnet(20),
    "resnet32": resnet(32),
    "resnet44": resnet(44),
    "resnet56": resnet(56),
    "resnet110": resnet(110),
    "wrn16_4": wrn16_4,
    "alexnet_bn": alexnet_bn,
}
"""Builders: (shape of an image, number of classes) -> a fresh network with plain batch norm, weights drawn from torch's
global generator; it maps (N, C, H, W) to logits (N, classes). One that cannot take the shape raises `DataError`."""


def build_model(name: str, shape: Shape, classes: int) -> nn.Module:
    """The network of a recipe's `model.name`, as `MODELS` describes them; `torchvision:NAME` is torchvision's NAME."""
    if name.startswith(TORCHVISION):
        return torchvision_network(name.removeprefix(TORCHVISION), shape, classes)
    return MODELS[name](shape, classes)
