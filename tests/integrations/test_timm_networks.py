"""timm's networks by their names in recipes, with the real timm."""

import pytest
import torch

from lbadvisor.errors import DataError, RecipeError
from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.models import build_model
from lbadvisor.training.state import start_state

timm = pytest.importorskip("timm")
BODY = {
    "schema": 1, "name": "timm", "data": {"name": "photos", "train_examples": 100},
    "model": {"name": "timm:resnet10t"}, "batch": {"size": 32},
    "optimizer": {"name": "sgd", "lr": 0.1}, "schedule": {"updates": 2},
}  # fmt: skip


def test_a_network_of_timm_is_built_for_the_images_and_classes():
    torch.manual_seed(0)
    ours = build_model("timm:resnet10t", (1, 32, 32), 7)
    torch.manual_seed(0)
    theirs = timm.create_model("resnet10t", num_classes=7, in_chans=1)
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_its_batch_norm_gets_ghosts():
    recipe = Recipe.model_validate(BODY | {"batch_norm": {"ghost_batch_size": 16}})
    model = start_state(recipe, 0, (3, 32, 32), 7, torch.device("cpu")).model
    assert sum(isinstance(layer, GhostBatchNorm) for layer in model.modules()) > 5


def test_arguments_reach_timm():
    model = {"name": "timm:vit_tiny_patch16_224", "arguments": {"img_size": 32, "patch_size": 8, "depth": 2}}
    state = start_state(Recipe.model_validate(BODY | {"model": model}), 0, (3, 32, 32), 7, torch.device("cpu"))
    assert state.model(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert len(state.model.blocks) == 2


def test_what_timm_lacks_is_said_with_the_nearest_name():
    with pytest.raises(RecipeError, match='timm has no network "resnet10tt"'):
        build_model("timm:resnet10tt", (3, 32, 32), 7)
    with pytest.raises(DataError, match="cannot take images of 32x32"):
        build_model("timm:vit_tiny_patch16_224", (3, 32, 32), 7)
