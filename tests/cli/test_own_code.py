"""The user's own models, data, losses and metrics, as a user has them: a package beside the recipe."""

import json
import random
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lbadvisor.records.run import RunStatus
from lbadvisor.store import Store

THINGS = """
import os
import random

import numpy as np
import torch
from torch import nn


def net(width=16, inputs=8, outputs=3, norm=True):
    layers = [nn.Linear(inputs, width), nn.BatchNorm1d(width)] if norm else [nn.Linear(inputs, width)]
    return nn.Sequential(nn.Flatten(), *layers, nn.ReLU(), nn.Linear(width, outputs))


def points(count, seed):
    x = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return x, x[:, :3].argmax(1)


def tensors(count=200):
    return points(count, 0), points(60, 1)


class Noisy(torch.utils.data.Dataset):
    def __init__(self, count, seed, own=None):
        (self.x, self.y), self.own = points(count, seed), own

    def __len__(self):
        return len(self.y)

    def __getitem__(self, place):
        noise = random.random() + np.random.rand() + torch.rand(())
        if self.own is not None:
            noise = noise + self.own.random()
        return (self.x[place] + 0.1 * noise).reshape(1, 2, 4), int(self.y[place])


def noisy(own=False):
    return Noisy(200, 0, np.random.default_rng() if own else None), Noisy(60, 1)


def numbers():
    weights = torch.linspace(-1, 1, 8)
    return tuple((x, (x @ weights)[:, None]) for x, _ in (points(200, 0), points(60, 1)))


def huber(delta=1.0):
    return nn.HuberLoss(reduction="none", delta=delta)


def rmse():
    return lambda outputs, targets: ((outputs - targets) ** 2).mean().sqrt()


class Tokens(nn.Module):
    def __init__(self, vocabulary=11, width=16):
        super().__init__()
        self.embedding, self.output = nn.Embedding(vocabulary, width), nn.Linear(width, vocabulary)

    def forward(self, tokens):
        return self.output(self.embedding(tokens))


def sequences(length=6):
    starts = torch.randint(11, (260, 1), generator=torch.Generator().manual_seed(0))
    tokens = (starts + 3 * torch.arange(length + 1)) % 11
    x, y = tokens[:, :-1], tokens[:, 1:]
    return (x[:200], y[:200]), (x[200:], y[200:])
"""

RECIPE = """
schema = 1
name = "own"

[data]
factory = "{package}.things:{data}"
train_examples = 200
{data_lines}

[model]
factory = "{package}.things:{model}"
{model_lines}

[batch]
size = 20

[optimizer]
name = "sgd"
lr = 0.1

[schedule]
updates = 30

[measurements]
every_updates = 5
evaluate_every_updates = 10
{tables}
"""
REGRESSION = """
[task]
kind = "regression"

[task.loss]
factory = "{package}.things:huber"
arguments = {{ delta = 0.5 }}

[task.metric]
factory = "{package}.things:rmse"
better = "lower"
"""


class Own:
    """A package of its own for each test: Python imports a name only once."""

    def __init__(self, folder):
        self.package = f"own{random.SystemRandom().randrange(10**12)}"
        self.folder = folder
        (folder / self.package).mkdir()
        self.file = folder / self.package / "things.py"
        self.file.write_text(THINGS)

    def recipe(self, data="tensors", model="net", tables="", data_lines="", model_lines="", name="own.toml"):
        words = {"data": data, "model": model, "data_lines": data_lines, "model_lines": model_lines}
        path = self.folder / name
        path.write_text(RECIPE.format(package=self.package, tables=tables.format(package=self.package), **words))
        return str(path)


@pytest.fixture
def own(place):
    yield (made := Own(place.folder))
    sys.path[:] = [one for one in sys.path if one != str(made.folder)]


def evaluated(place, run="1"):
    with Store.open(place.database, create=False) as store:
        return [m for m in store.measurements(store.run(run).number) if m.evaluation_loss is not None]


def test_own_tensors_and_an_own_network_are_trained_by_their_names(place, own):
    done = place.run("train", own.recipe(model_lines="arguments = { width = 24 }"), "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert f"{own.package}.things:net on {own.package}.things:tensors, batch 20, 30 updates" in done.stderr
    out = place.folder / "own.safetensors"
    exported = place.run("runs", "export-weights", "1", "--out", str(out), "--allow-code")
    assert exported.returncode == 0, exported.stderr
    assert load_file(out)["1.weight"].shape == (24, 8)


def test_a_batch_of_tokens_is_a_language_model(place, own):
    """Logits (B, T, K) and targets (B, T): the next token is a function of the last, so all become right."""
    recipe = own.recipe(data="sequences", model="Tokens", data_lines="arguments = { length = 5 }")
    done = place.run("train", recipe, "--set", "optimizer.lr=3", "--set", "schedule.updates=120")
    assert done.returncode == 0, done.stderr
    last = evaluated(place)[-1]
    assert last.evaluation_accuracy_percent == 100
    assert last.evaluation_loss < 0.5 < torch.log(torch.tensor(11.0))


@pytest.mark.parametrize("data", ["tensors", "noisy"])
def test_a_killed_run_of_own_code_resumes_bit_for_bit(place, own, data):
    """The Dataset draws from the generators of Python, numpy and torch in every example."""
    done = place.run(
        "verify-resume", own.recipe(data=data), "--updates", "12", "--at", "7", "--device", "cpu", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["identical"] is True


def test_a_dataset_with_a_generator_of_its_own_is_said_to_have_it(place, own):
    done = place.run("train", own.recipe(data="noisy", data_lines="arguments = { own = true }"))
    assert done.returncode == 0, done.stderr
    assert "draws from a generator of its own" in done.stderr
    assert place.runs()[0].guarantee == "same order"
    plain = place.run("train", own.recipe(data="noisy"), "--name", "plain")
    assert plain.returncode == 0, plain.stderr
    assert place.runs()[-1].guarantee == "bit-exact"


def test_a_stored_recipe_runs_no_code_unasked(place, own):
    """The database may be a stranger's: importing the module would write a file."""
    recipe = own.recipe()
    assert place.run("ladder", recipe, "--to", "40", "--seeds", "1", "--arms", "sb,lb", "--name", "l").returncode == 0
    (place.folder / "w").mkdir()
    for module in [name for name in sys.modules if name.startswith(own.package)]:
        del sys.modules[module]
    trap = place.folder / "imported"
    own.file.write_text(f"open({str(trap)!r}, 'w').close()\n" + THINGS)
    with Store.open(place.database, create=False) as store:
        store.set_status(1, RunStatus.STOPPED, "by the test")
        store.set_status(2, RunStatus.STOPPED, "by the test")
    refused = "is not run unasked"
    for words in (
        ("resume", "1"),
        ("runs", "export-weights", "1", "--out", "w/own.safetensors"),
        ("probe", "sharpness", "1"),
    ):
        done = place.run(*words)
        assert (done.returncode, done.stdout) == (3, ""), words
        assert refused in done.stderr
    everything = place.run("probe", "all", "l")
    assert refused in everything.stdout
    assert not trap.exists()
    assert place.run("resume", "1", "--allow-code").returncode == 0
    assert trap.exists()


def test_allowing_code_where_there_is_none_is_refused(place):
    digits = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
    assert place.run("train", digits, "--schedule-scale", "0.02", "--name", "digits").returncode == 0
    for words in (("resume", "digits"), ("runs", "export-weights", "digits", "--out", "a.safetensors")):
        done = place.run(*words, "--allow-code")
        assert (done.returncode, done.stdout) == (2, "")
        assert "--allow-code has no effect: the recipe names no code of its own" in done.stderr
