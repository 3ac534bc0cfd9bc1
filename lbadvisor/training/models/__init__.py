"""The networks that `lbadvisor` trains, by the names of `lbadvisor.recipe.catalog.NETWORKS`, and torchvision's."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from lbadvisor.errors import DataError
from lbadvisor.recipe.catalog import TIMM, TORCHVISION
from lbadvisor.training.models.alexnet import alexnet_bn
from lbadvisor.training.models.from_timm import timm_network
from lbadvisor.training.models.from_torchvision import torchvision_network
from lbadvisor.training.models.keskar import c1, c3
from lbadvisor.training.models.mlp import digits_mlp, f1
from lbadvisor.training.models.resnet import resnet
from lbadvisor.training.models.vgg import vgg16
from lbadvisor.training.models.wide_resnet import wrn16_4
from lbadvisor.training.shape import Shape

__all__ = ["MODELS", "Shape", "build_model", "known_classes"]

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


def build_model(
    name: str, shape: Shape, classes: int | None, arguments: Mapping[str, Any] = MappingProxyType({})
) -> nn.Module:
    """The network of a recipe's `model.name`: as `MODELS` describes them, torchvision's, or timm's with `arguments`.

    Raises `DataError` if it cannot take inputs of `shape`, or the number of classes is None.
    """
    classes = known_classes(classes)
    if len(shape) != 3 and MODELS.get(name) not in (digits_mlp, f1):
        raise DataError(
            f"{name} takes images (channels, height, width), but the inputs are {shape}: give model.factory"
        )
    if name.startswith(TORCHVISION):
        return torchvision_network(name.removeprefix(TORCHVISION), shape, classes)
    if name.startswith(TIMM):
        return timm_network(name, arguments, shape, classes)
    return MODELS[name](shape, classes)


def known_classes(classes: int | None) -> int:
    """The number of classes. Raises `DataError` if it is not known."""
    if classes is None:
        raise DataError("the number of classes of the factory's data is not known: set data.classes")
    return classes
