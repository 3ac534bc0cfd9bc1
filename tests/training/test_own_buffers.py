"""The user's own network on several ranks: what is said of its buffers."""

from pathlib import Path

import pytest
import torch

from lbadvisor.recipe.file import load_recipe
from lbadvisor.training.data.preparation import load_dataset
from lbadvisor.training.machine import Machine
from lbadvisor.training.own_buffers import own_buffers_note
from lbadvisor.training.ranks import Ranks

DIGITS = Path(__file__).parents[2] / "recipes" / "digits.toml"
NETWORK = """
import torch
from torch import nn

class Own(nn.Module):
    def __init__(self, saved=(), other=()):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))
        for name in (*saved, *other):
            self.layers.register_buffer(name, torch.zeros(1), persistent=name in saved)

    def forward(self, x):
        return self.layers(x)
"""
"""Buffers of its own, which are `saved` with its weights or not; and batch norm's, which are shared."""


@pytest.fixture
def note(tmp_path):
    """What is said of a network on so many ranks."""
    (tmp_path / "own_buffers_network.py").write_text(NETWORK)

    def say(model, ranks=2, shares=None):
        recipe = tmp_path / "own.toml"
        recipe.write_text(DIGITS.read_text().replace('name = "digits_mlp"', model))
        machine = Machine(torch.device("cpu"), tmp_path, code=(tmp_path,))
        state = machine.start(loaded := load_recipe(recipe), 0, load_dataset(loaded, tmp_path, machine.device))
        state.ranks = Ranks(0, ranks, cut_into=shares)
        return own_buffers_note(state)

    return say


def own(saved, other=()):
    return f'factory = "own_buffers_network:Own"\narguments = {{ saved = {list(saved)}, other = {list(other)} }} #'


def test_buffers_that_are_saved_are_named(note):
    said = note(own(["centre"], ["mask"]))
    assert said.startswith("the network's own buffers (layers.centre) are not shared among ranks: if training")
    assert "(layers.a, layers.b, layers.c and 2 more)" in note(own("abcde"))
    assert note(own(["centre"]), ranks=1, shares=2) == said


def test_batch_norms_and_a_mask_are_not_and_nothing_of_one_rank_or_a_network_of_the_program(note):
    assert note(own([], ["mask"])) is None
    assert note(own(["centre"]), ranks=1) is None
    assert note('name = "digits_mlp"') is None
