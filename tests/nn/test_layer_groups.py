"""Groups of layers: every parameter is in one, and they are what a reader of a curve would call a layer or a stage."""

import pytest
from torch import nn

from lbadvisor.nn.layer_groups import layer_groups
from lbadvisor.training.models import build_model

STAGES = ["conv 1", "stage 1", "stage 2", "stage 3", "linear 1"]
NETWORKS = {
    "f1": ((1, 28, 28), [f"linear {n}" for n in range(1, 7)]),
    "resnet44": ((3, 32, 32), STAGES),
    "wrn16_4": ((3, 32, 32), STAGES),
    "vgg16": ((3, 32, 32), [*(f"conv {n}" for n in range(1, 14)), *(f"linear {n}" for n in range(1, 4))]),
    "torchvision:resnet18": ((3, 64, 64), ["conv1", "layer1", "layer2", "layer3", "layer4", "fc"]),
    "torchvision:vgg11_bn": ((3, 64, 64), [*(f"conv {n}" for n in range(1, 9)), "linear 1", "linear 2", "linear 3"]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_has_its_layers_or_stages_as_groups(name):
    shape, expected = NETWORKS[name]
    model = build_model(name, shape, 10)
    groups = layer_groups(model)
    assert list(groups) == expected
    places = [place for group in groups.values() for place in group]
    assert sorted(places) == list(range(len(list(model.parameters()))))


def test_a_normalization_belongs_to_the_layer_before_it():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
    assert layer_groups(model) == {"linear 1": (0, 1, 2, 3), "linear 2": (4, 5)}


def test_parameters_outside_every_layer_are_a_group_of_their_own():
    model = nn.Module()
    model.token = nn.Parameter(nn.Linear(1, 1).weight.detach())
    model.head = nn.Linear(2, 1)
    assert layer_groups(model) == {"head": (1, 2), "other": (0,)}
