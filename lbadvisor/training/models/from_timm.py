"""timm's networks, by their names there."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from lbadvisor.errors import DataError, RecipeError, RecipeProblem
from lbadvisor.recipe.catalog import TIMM
from lbadvisor.recipe.suggestion import did_you_mean
from lbadvisor.training.models.from_torchvision import require_fit
from lbadvisor.training.own_code import naming_own_code
from lbadvisor.training.shape import Shape


def timm_network(name: str, arguments: Mapping[str, Any], shape: Shape, classes: int) -> nn.Module:
    """The network that timm calls NAME in `timm:NAME`, in its initialization: (N, C, H, W) -> (N, classes).

    `arguments` go to `timm.create_model`; weights are only pretrained if they say so. Raises `RecipeError` for a name
    that timm does not have, and `DataError` without timm, or if the network cannot take images of `shape`.
    """
    try:
        import timm
    except ImportError as error:
        raise DataError(f"{name} needs timm, which is not installed: pip install 'lbadvisor[timm]'") from error
    own = name.removeprefix(TIMM)
    if not timm.is_model(own):
        hint = did_you_mean(own.partition(".")[0], timm.list_models())
        raise RecipeError(name, (RecipeProblem("model.name", f'timm has no network "{own}"', hint=hint),))
    asked = {"pretrained": False, "num_classes": classes, "in_chans": shape[0], **arguments}
    with naming_own_code(f"timm.create_model for {name}"):
        network: nn.Module = timm.create_model(own, **asked)
    require_fit(name, network, shape, classes)
    return network
