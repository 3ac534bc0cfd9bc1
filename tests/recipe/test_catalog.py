"""What the advisor knows by name, against torch and torchvision themselves."""

import inspect

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn
from torchvision import models

from lbadvisor.recipe.catalog import OPTIMIZERS, TORCHVISION, TORCHVISION_NETWORKS, network_facts
from lbadvisor.recipe.recipe_tables import Optimizer

TORCH = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_table_of_torchvisions_networks_is_torchvisions_own(monkeypatch):
    """Every network is built with all its layers, its weights without memory."""
    register = nn.Module.register_parameter
    monkeypatch.setattr(
        nn.Module,
        "register_parameter",
        lambda module, name, weight: register(
            module, name, weight if weight is None else nn.Parameter(weight.detach().to("meta"))
        ),
    )
    has_batch_norm = {
        TORCHVISION + name: any(
            isinstance(layer, nn.modules.batchnorm._BatchNorm)
            for layer in models.get_model(name, weights=None).modules()
        )
        for name in models.list_models(module=models)
    }
    assert {name: facts.batch_norm for name, facts in TORCHVISION_NETWORKS.items()} == has_batch_norm


def test_a_network_is_known_by_the_name_that_a_recipe_gives_it():
    assert network_facts("torchvision:vit_b_16").batch_norm is False
    assert network_facts("torchvision:resnet50").batch_norm is True
    assert network_facts("resnet44").batch_norm is True
    assert network_facts("torchvision:nope") is None


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizers_defaults_are_torchs_and_the_recipe_formats(name):
    facts, signature = OPTIMIZERS[name], inspect.signature(TORCH[name]).parameters
    betas = signature["betas"].default if "betas" in signature else (None, None)
    in_torch = {
        "momentum": signature["momentum"].default if "momentum" in signature else None,
        "beta1": betas[0],
        "beta2": signature["alpha"].default if "alpha" in signature else betas[1],
        "epsilon": signature["eps"].default if "eps" in signature else None,
        "weight_decay": signature["weight_decay"].default,
    }
    optimizer = TypeAdapter(Optimizer).validate_python({"name": name, "lr": 0.1})
    for number, value in in_torch.items():
        assert getattr(facts, number) == value, number
        assert getattr(optimizer, number, None) == value, number
