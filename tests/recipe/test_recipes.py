"""The recipes that come with the project say what their sources say."""

from pathlib import Path

import pytest

from lbadvisor.recipe.catalog import DATASETS
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Sgd
from lbadvisor.recipe.schedule import in_updates

FOLDER = Path(__file__).parents[2] / "recipes"
NAMES = (
    "digits",
    "mnist_f1",
    "cifar10_c1",
    "resnet44",
    "cifar10_vgg",
    "cifar100_c3",
    "wrn16_4",
    "imagenet_alexnet",
)

# (batch size, epochs, momentum, weight decay, {epoch: learning rate}), with the rates of eladhoffer/bigBatch as printed
# there; of `digits` and `cifar10_vgg` they are the project's own.
REGIMES = {
    "digits": (32, 10, 0.9, 1e-4, {0: 0.05, 5: 0.005, 7.5: 0.0005}),
    "mnist_f1": (128, 40, 0.9, 1e-4, {0: 0.1, 10: 0.01, 20: 0.001, 30: 0.0001}),
    "cifar10_c1": (128, 200, 0.0, 5e-4, {0: 1e-3, 60: 1e-2, 120: 1e-3, 180: 1e-4}),
    "resnet44": (128, 200, 0.9, 1e-4, {0: 0.1, 81: 0.01, 122: 0.001, 164: 0.0001}),
    "cifar10_vgg": (128, 200, 0.9, 5e-4, {0: 0.1, 81: 0.01, 122: 0.001, 164: 0.0001}),
    "cifar100_c3": (128, 200, 0.0, 5e-4, {0: 1e-3, 60: 1e-2, 120: 1e-3, 180: 1e-4}),
    "wrn16_4": (256, 200, 0.9, 5e-4, {0: 0.1, 60: 2e-2, 120: 4e-3, 140: 1e-4}),
    "imagenet_alexnet": (128, 30, 0.9, 5e-4, {0: 1e-2, 10: 5e-3, 15: 1e-3, 20: 5e-4, 25: 1e-4}),
}

# (data set, network, augmentation): the rows of Tables 1 and 2 of arXiv:1705.08741, and the project's augmentations.
TRAININGS = {
    "digits": ("digits", "digits_mlp", "none"),
    "mnist_f1": ("mnist", "f1", "none"),
    "cifar10_c1": ("cifar10", "c1", "none"),
    "resnet44": ("cifar10", "resnet44", "pad-crop-flip"),
    "cifar10_vgg": ("cifar10", "vgg16", "pad-crop-flip"),
    "cifar100_c3": ("cifar100", "c3", "none"),
    "wrn16_4": ("cifar100", "wrn16_4", "pad-crop-flip"),
    "imagenet_alexnet": ("imagenet", "alexnet_bn", "random-resized-crop"),
}


def recipe(name: str) -> Recipe:
    return load_recipe(FOLDER / f"{name}.toml")


def test_the_folder_holds_these_recipes_and_no_other():
    example = {"char_transformer.toml", "char_transformer.py", "README.md"}
    files = {file.name for file in FOLDER.iterdir() if file.is_file()}
    assert files == {f"{name}.toml" for name in NAMES} | example


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_the_regime_of_its_source(name):
    loaded = recipe(name)
    batch_size, epochs, momentum, weight_decay, rates = REGIMES[name]
    assert isinstance(loaded.optimizer, Sgd)
    assert (loaded.batch.size, loaded.schedule.epochs) == (batch_size, epochs)
    assert (loaded.optimizer.momentum, loaded.optimizer.weight_decay) == (momentum, weight_decay)
    lr = loaded.optimizer.lr
    assert {0: lr} | {m.epoch: pytest.approx(lr * m.lr_factor) for m in loaded.schedule.milestones} == rates


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_trains_its_network_on_its_data(name):
    loaded = recipe(name)
    assert (loaded.data.name, loaded.model.name, loaded.data.augmentation) == TRAININGS[name]
    assert loaded.name == name
    examples = {set_name: facts.train_examples for set_name, facts in DATASETS.items()} | {"imagenet": 1_281_167}
    assert loaded.data.train_examples == examples[loaded.data.name]


@pytest.mark.parametrize("name", NAMES)
def test_a_baseline_clips_nothing_has_no_ghosts_and_was_not_adapted(name):
    loaded = recipe(name)
    assert loaded.clipping is None
    assert loaded.batch_norm.ghost_batch_size is None
    assert loaded.adapted_from is None


def test_alexnet_drops_its_weight_decay_at_epoch_15_for_good():
    decays = [(m.epoch, m.weight_decay) for m in recipe("imagenet_alexnet").schedule.milestones]
    assert decays == [(10, None), (15, 0.0), (20, None), (25, None)]


def test_resnet44_first_drops_where_the_papers_figure_3_does():
    """31 650 updates on the figure's axis: 81 * 50000/128 = 31 640.6."""
    assert in_updates(recipe("resnet44")).schedule.milestones[0].update == 31_641
