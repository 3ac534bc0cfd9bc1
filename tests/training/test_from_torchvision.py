"""Torchvision's networks by name: they train from a class folder, and what they cannot take is said."""

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torchvision import models
from torchvision.models import list_models

from lbadvisor.errors import DataError, RecipeError
from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import AdaptedFrom, Model
from lbadvisor.training.data.preparation import load_dataset
from lbadvisor.training.loop import train
from lbadvisor.training.models import build_model
from lbadvisor.training.state import start_state

CPU = torch.device("cpu")


def recipe(network, ghost=None):
    return Recipe.model_validate(
        {
            "schema": 1,
            "name": "tiny",
            "data": {"name": "colours", "train_examples": 24},
            "model": {"name": network},
            "batch": {"size": 12},
            "optimizer": {"name": "sgd", "lr": 0.01},
            "schedule": {"updates": 3},
            "batch_norm": {} if ghost is None else {"ghost_batch_size": ghost},
        }
    )


@pytest.fixture
def colours(tmp_path, monkeypatch):
    """Class folders of 32x32 images: 12 and 3 of nearly red ones, as many of nearly blue ones."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, colour in (("red", (250, 0, 0)), ("blue", (0, 0, 250))):
        for split, images in (("train", 12), ("test", 3)):
            folder = tmp_path / "colours" / split / name
            folder.mkdir(parents=True)
            for i in range(images):
                Image.new("RGB", (32, 32), tuple(c + (i if c == 0 else -i) for c in colour)).save(folder / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("network", ["torchvision:resnet18", "torchvision:mobilenet_v2"])
def test_a_network_of_torchvisions_trains_with_ghost_batches(colours, network):
    trained = recipe(network, ghost=4)
    dataset = load_dataset(trained, colours, CPU)
    state = start_state(trained, 0, dataset.shape, dataset.classes, CPU)
    assert any(isinstance(layer, GhostBatchNorm) for layer in state.model.modules())
    last = [m.measurement for m in train(state, dataset) if m is not None][-1]
    assert last.update == 3
    assert last.weight_distance > 0
    assert last.evaluation_loss is not None


def test_the_weights_are_torchvisions_from_the_same_draws():
    from torchvision.models import resnet18

    torch.manual_seed(5)
    ours = build_model("torchvision:resnet18", (3, 64, 64), 7)
    torch.manual_seed(5)
    theirs = resnet18(num_classes=7)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert sum(p.numel() for p in build_model("torchvision:resnet50", (3, 64, 64), 1000).parameters()) == 25_557_032


def test_a_network_that_torchvision_does_not_have_gets_a_suggestion():
    with pytest.raises(RecipeError, match="did you mean `resnet50`") as caught:
        build_model("torchvision:resnett50", (3, 64, 64), 10)
    assert [p.field for p in caught.value.problems] == ["model.name"]
    with pytest.raises(RecipeError, match="no image classification network"):
        build_model("torchvision:fasterrcnn_resnet50_fpn", (3, 64, 64), 10)


@pytest.mark.parametrize(
    ("network", "shape", "said"),
    [
        ("resnet18", (1, 28, 28), "3 channels, but these have 1"),
        ("vit_b_16", (3, 32, 32), "cannot take images of 32x32 pixels .*Expected 224"),
        ("alexnet", (3, 16, 16), "cannot take images of 16x16 pixels"),
        ("inception_v3", (3, 299, 299), "auxiliary outputs"),
        ("googlenet", (3, 224, 224), "auxiliary outputs"),
    ],
)
def test_what_a_network_cannot_do_is_said_before_it_is_built(network, shape, said):
    with pytest.raises(DataError, match=said):
        build_model(f"torchvision:{network}", shape, 10)


def test_ghosts_without_batch_norm_are_refused():
    with pytest.raises(ValidationError, match="torchvision:squeezenet1_1 has no batch norm"):
        recipe("torchvision:squeezenet1_1", ghost=4)


SIZES = {
    **{f"efficientnet_b{i}": side for i, side in enumerate((224, 240, 288, 300, 380, 456, 528, 600))},
    **dict.fromkeys(("efficientnet_v2_s",), 384),
    **dict.fromkeys(("efficientnet_v2_m", "efficientnet_v2_l"), 480),
    **dict.fromkeys(("swin_v2_t", "swin_v2_s", "swin_v2_b"), 256),
}
"""The sides of the images that the networks were published for; all others were for 224."""


@pytest.fixture
def _no_initialization(monkeypatch):
    """The weights of all the networks are three billion, whose drawing takes minutes: they stay as the memory was."""
    for name in ("kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_", "trunc_normal_", "xavier_uniform_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)


@pytest.mark.usefixtures("_no_initialization")
@pytest.mark.parametrize("name", list_models(module=models))
def test_each_of_torchvisions_classification_networks_takes_its_images_or_says_why_not(name):
    side = SIZES.get(name, 224)
    if name in ("googlenet", "inception_v3"):
        with pytest.raises(DataError, match="has auxiliary outputs"):
            build_model(f"torchvision:{name}", (3, side, side), 10)
    else:
        network = build_model(f"torchvision:{name}", (3, side, side), 10)
        assert sum(p.numel() for p in network.parameters()) > 300_000


@pytest.mark.parametrize("network", ["regnet_x_400mf"])
def test_a_network_that_computes_its_widths_with_tensors_trains(colours, network):
    trained = recipe(f"torchvision:{network}", ghost=4)
    dataset = load_dataset(trained, colours, CPU)
    state = start_state(trained, 0, dataset.shape, dataset.classes, CPU)
    assert [m.measurement for m in train(state, dataset) if m is not None][-1].weight_distance > 0


def test_whether_a_network_fits_is_asked_without_a_trace():
    """The running statistics are those of a fresh network, and the next draw is what it would have been."""
    from torchvision.models import resnet18

    torch.manual_seed(5)
    ours = build_model("torchvision:resnet18", (3, 64, 64), 7)
    after = torch.rand(1)
    torch.manual_seed(5)
    theirs = resnet18(num_classes=7)
    assert torch.equal(after, torch.rand(1))
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), theirs.buffers(), strict=True))


def test_ghosts_without_batch_norm_are_refused_with_what_is_in_the_users_hand():
    network = "torchvision:squeezenet1_1"
    asked = recipe("torchvision:resnet18", ghost=4)
    in_recipe = asked.model_copy(update={"model": Model.model_construct(name=network)})
    with pytest.raises(DataError, match=r"squeezenet1_1 has no batch norm.*: remove batch_norm\.ghost_batch_size from"):
        start_state(in_recipe, 0, (3, 64, 64), 2, CPU)
    adapted = in_recipe.model_copy(update={"adapted_from": AdaptedFrom.model_construct(parts=("lr", "ghost", "clip"))})
    with pytest.raises(DataError, match=r"squeezenet1_1 has no batch norm.*: do not adapt it: --adapt lr,clip$"):
        start_state(adapted, 0, (3, 64, 64), 2, CPU)
