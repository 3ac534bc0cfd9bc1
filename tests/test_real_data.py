"""The recipes on the real data they are made for: a few updates each, and what F1 reaches in half an epoch."""

from pathlib import Path

import pytest
import torch

from lbadvisor.planning.plan import advise
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.parts import PARTS
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.data.preparation import load_dataset
from lbadvisor.training.loop import train
from lbadvisor.training.state import start_state

RECIPES = Path(__file__).parents[1] / "recipes"
CPU = torch.device("cpu")


def trained(recipe, data_dir):
    dataset = load_dataset(recipe, data_dir, CPU)
    state = start_state(in_updates(recipe), 0, dataset.shape, dataset.classes, CPU)
    return [m.measurement for m in train(state, dataset) if m is not None]


def test_f1_learns_mnist_in_half_an_epoch(real_data_dir):
    recipe = load_recipe(RECIPES / "mnist_f1.toml", ["schedule.updates=234", "schedule.milestones=[]"])
    assert trained(recipe, real_data_dir)[-1].evaluation_accuracy_percent > 93


@pytest.mark.parametrize("name", ["resnet44", "cifar10_c1", "cifar10_vgg", "cifar100_c3", "wrn16_4"])
def test_a_cifar_recipe_trains_from_class_folders_small_and_adapted(name, real_data_dir, tmp_path, monkeypatch):
    """As many images as the tests' subset holds; the loss is that of a network that has hardly begun."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    dataset = load_recipe(RECIPES / f"{name}.toml").data.name
    if not (real_data_dir / dataset).is_dir():
        pytest.skip(f"there are no {dataset} class folders")
    found = sum(1 for _ in (real_data_dir / dataset / "train").glob("*/*.png"))
    if found > 1000:
        pytest.skip("the whole set takes minutes to pack: use a subset")
    small = load_recipe(
        RECIPES / f"{name}.toml",
        [f"data.train_examples={found}", "batch.size=16", "schedule.updates=2", "schedule.milestones=[]"],
    )
    adapted = advise(small, Request(32, PARTS)).adapted
    for recipe in (small, adapted):
        last = trained(recipe, real_data_dir)[-1]
        assert last.update == 2
        assert 1 < last.loss < 8
        assert last.weight_distance > 0
