"""Torchvision's own image classification networks, by their names there."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lbadvisor.errors import DataError, RecipeError, RecipeProblem, reason_of
from lbadvisor.recipe.catalog import TORCHVISION, why_not_trained
from lbadvisor.recipe.suggestion import did_you_mean
from lbadvisor.training.shape import Shape


def torchvision_network(name: str, shape: Shape, classes: int) -> nn.Module:
    """The network that `torchvision.models` calls `name`, without pretrained weights. (N, C, H, W) -> (N, classes).

    In torchvision's initialization. Raises `RecipeError` for a name that torchvision does not have, and `DataError`
    for a network that cannot take images of `shape` or has more outputs than logits.
    """
    from torchvision import models  # takes a second to import

    known = models.list_models(module=models)
    if name not in known:
        problem = f'torchvision has no image classification network "{name}"'
        origin = f"{TORCHVISION}{name}"
        raise RecipeError(origin, (RecipeProblem("model.name", problem, hint=did_you_mean(name, known)),))
    if reason := why_not_trained(f"{TORCHVISION}{name}"):
        raise DataError(f"{reason}: choose another network")
    if shape[0] != 3:
        raise DataError(f"torchvision's networks take images with 3 channels, but these have {shape[0]}")
    network: nn.Module = models.get_model(name, weights=None, num_classes=classes)
    require_fit(f"{TORCHVISION}{name}", network, shape, classes)
    return network


def require_fit(name: str, network: nn.Module, shape: Shape, classes: int) -> None:
    """Raise `DataError` unless the network makes logits from images of `shape`, computing with shapes only.

    Only the weights are on the meta device, not the constructor: some networks compute their widths with tensors.
    """
    _, height, width = shape
    weights = {key: tensor.to("meta") for key, tensor in (*network.named_parameters(), *network.named_buffers())}
    try:
        logits: Tensor = functional_call(network, weights, torch.empty(2, *shape, device="meta"))
    except NotImplementedError:  # a RuntimeError, but not about shapes
        raise
    except (RuntimeError, AssertionError, ValueError) as error:
        raise DataError(
            f"{name} cannot take images of {height}x{width} pixels ({reason_of(error)}): "
            "choose another network, or images of another size"
        ) from error
    if logits.shape != (2, classes):
        raise DataError(f"{name} gives {tuple(logits.shape)} for 2 images, not (2, {classes}) logits")
