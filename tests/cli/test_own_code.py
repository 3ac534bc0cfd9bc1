"""The user's own models, data, losses and metrics, as a user has them: a package beside the recipe."""

import json
import math
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ranks_of import run_on, saved
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


class Partly(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.frozen, self.unused = net(outputs=1, norm=False), nn.Linear(8, 8), nn.Linear(8, 1)
        self.frozen.requires_grad_(False)

    def forward(self, x):
        return self.used(x + 0.1 * self.frozen(x))


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
    words = ("train", own.recipe(data=data), "--device", "cpu", "--set", "checkpoints.every_seconds=1e-9")
    place.held(7, *words, "--name", "killed", saving_share=math.inf).kill()
    for name in ("killed", "straight"):
        done = place.run(*words, "--name", name)
        assert done.returncode == 0, done.stderr
        assert ("resuming from update 6" in done.stderr) == (name == "killed")
    (killed, measured), (straight, expected) = (place.stored(name) for name in ("killed", "straight"))
    assert (killed.resumes, straight.resumes) == (1, 0)
    assert [replace(one, seconds=0.0) for one in measured] == [replace(one, seconds=0.0) for one in expected]
    weights, straight_weights = place.weights("killed"), place.weights("straight")
    assert all(torch.equal(weights[name], straight_weights[name]) for name in weights | straight_weights)


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


def test_a_regression_has_a_loss_and_a_metric_of_its_own_and_no_accuracy(place, own):
    recipe = own.recipe("numbers", tables=REGRESSION, model_lines="arguments = { outputs = 1, norm = false }")
    done = place.run("ladder", recipe, "--to", "40", "--seeds", "2", "--arms", "sb,lb", "--name", "l")
    assert done.returncode == 0, done.stderr
    assert "no accuracy" in done.stdout
    assert all(m.evaluation_accuracy_percent is None for m in evaluated(place))
    compared = json.loads(place.run("compare", "l", "--json").stdout)
    rmse = next(metric for metric in compared["metrics"] if metric["label"] == "rmse")
    assert (rmse["name"], rmse["better"], len(rmse["values"])) == ("metric", "lower", 4)
    # Worked from the weights that are exported, without this program.
    exported = place.run("runs", "export-weights", "1", "--out", "w.safetensors", "--allow-code")
    assert exported.returncode == 0, exported.stderr
    things = sys.modules[f"{own.package}.things"]
    network = things.net(outputs=1, norm=False)
    network.load_state_dict(load_file("w.safetensors"))
    _, (x, y) = things.numbers()
    gap = (network(x) - y).abs()
    huber = torch.where(gap <= 0.5, gap**2 / 2, 0.5 * (gap - 0.25)).mean().item()
    assert evaluated(place)[-1].evaluation_loss == pytest.approx(huber, rel=1e-5)
    assert rmse["values"][0] == pytest.approx(gap.square().mean().sqrt().item(), rel=1e-5)


def test_a_changed_file_is_noticed_when_the_run_resumes(place, own):
    recipe = own.recipe()
    assert place.run("train", recipe, "--name", "a").returncode == 0
    with Store.open(place.database, create=False) as store:
        store.set_status(1, RunStatus.STOPPED, "by the test")
    again = place.run("train", recipe, "--name", "a")
    assert again.returncode == 0, again.stderr
    assert "has changed" not in again.stderr
    assert place.runs()[0].guarantee == "bit-exact"
    with Store.open(place.database, create=False) as store:
        store.set_status(1, RunStatus.STOPPED, "by the test")
    own.file.write_text(THINGS + "# another line\n")
    changed = place.run("train", recipe, "--name", "a")
    assert changed.returncode == 0, changed.stderr
    assert f"the file that defines {own.package}.things:net has changed since update 30 was saved" in changed.stderr
    assert place.runs()[0].guarantee == "same order"


LAYERS = THINGS[: THINGS.index("layers = ")].count("\n") + 1
WRONG = {
    'factory = "{package}.things:net"': [
        ('factory = "{package}.things:nett"', "has no nett", 11),
        ('factory = "nothere.things:net"', "there is no module nothere", 11),
        ('factory = "{package}.things:tensors"', "not a network", 11),
        ('factory = "{package}.things"', 'must be "module:function"', 11),
        ('factory = "builtins:int"', "builtins:int returned an int, not a network", 11),
        ('factory = "{package}.things:torch"', "is a module, which cannot be called", 11),
        ('factory = "{package}.things:net"\narguments = {{ wdth = 3 }}', "unexpected keyword argument 'wdth'", 11),
        ('factory = "{package}.things:net"\narguments = {{ width = "x" }}', f"things.py:{LAYERS})", 11),
    ],
    'factory = "{package}.things:tensors"': [
        ('factory = "{package}.things:net"', "returned a Sequential", 6),
        ('factory = "{package}.things:tensors"\narguments = {{ count = 300 }}', "has 300 training examples", 8),
    ],
}


@pytest.mark.parametrize(
    ("right", "wrong", "said", "line"), [(right, *one) for right, those in WRONG.items() for one in those]
)
def test_what_is_wrong_with_a_factory_is_said_at_its_line(place, own, right, wrong, said, line):
    recipe = Path(own.recipe())
    old, new = (text.format(package=own.package) for text in (right, wrong))
    recipe.write_text(recipe.read_text().replace(old, new))
    done = place.run("train", str(recipe))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"own.toml:{line}:" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not place.database.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"model_lines": "arguments = { inputs = 5 }"}, "failed: RuntimeError: mat1 and mat2 shapes"),
        ({"model_lines": "arguments = { outputs = 2 }"}, "a target is not one of the classes 0 to 1"),
        ({"model_lines": "batch_norm = false"}, "model.batch_norm is false, but"),
        ({"data": "numbers"}, 'for numbers set task.kind = "regression"'),
        ({"data": "numbers", "tables": REGRESSION.split("[task.loss]")[0]}, "do not have the shape of the targets"),
    ],
)
def test_parts_that_do_not_fit_are_told_before_anything_is_stored(place, own, words, said):
    done = place.run("train", own.recipe(**words))
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert not place.database.exists()


def test_an_exception_of_the_users_data_is_shown_with_its_place(place, own):
    own.file.write_text(THINGS.replace("noise = random", "assert place != 57; noise = random"))
    done = place.run("train", own.recipe(data="noisy"))
    assert done.returncode == 1
    line = THINGS[: THINGS.index("noise = random")].count("\n") + 1
    assert f"example 57 of data.factory's Dataset failed: AssertionError ({own.file}:{line})" in done.stderr


def test_validation_examples_of_own_data_are_held_out_of_its_training_set(place, own):
    recipe = own.recipe(data="noisy")
    words = ("--set", "data.train_examples=150", "--set", "data.validation_examples=50")
    done = place.run("train", recipe, *words)
    assert done.returncode == 0, done.stderr


def test_a_network_known_by_name_trains_on_own_data(place, own):
    recipe = Path(own.recipe(data="noisy"))
    recipe.write_text(recipe.read_text().replace(f'factory = "{own.package}.things:net"', 'name = "digits_mlp"'))
    done = place.run("train", str(recipe))
    assert (done.returncode, "set data.classes" in done.stderr) == (1, True)
    assert place.run("train", str(recipe), "--set", "data.classes=3").returncode == 0


def test_own_code_is_trained_on_ranks_as_on_one(place, own):
    """A regression with loss and metric, a network with frozen and unused parameters, two examples to evaluate on.

    Three ranks: one of them has none of the two, and each has all outputs for the metric.
    """
    recipe = own.recipe("numbers", "Partly", REGRESSION)
    held_out = ("--set", "data.validation_examples=2", "--set", "data.train_examples=198")
    found = {}
    for ranks in (1, 3):
        database = place.folder / f"{ranks}.db"
        command = ("train", recipe, *held_out, "--set", "batch.size=19", "--micro", "4", "--device", "cpu")
        ended = run_on(ranks, *command, "--name", "own", "--db", str(database), cwd=place.folder)
        assert [code for code, _, _ in ended] == [0] * ranks, ended
        assert not any("Warning" in said for _, _, said in ended), ended
        found[ranks] = saved(database, "own")
    (content, measured), (others, theirs) = found.values()
    for name, weights in content["model"].items():
        torch.testing.assert_close(others["model"][name], weights, rtol=1e-5, atol=1e-6)
    assert [other.evaluation_loss for other in theirs] == [
        None if one.evaluation_loss is None else pytest.approx(one.evaluation_loss, rel=1e-4) for one in measured
    ]
    with (
        Store.open(place.folder / "3.db", create=False) as there,
        Store.open(place.folder / "1.db", create=False) as here,
    ):
        metrics = [[r.value for r in store.readings(store.run("own").number)] for store in (here, there)]
    assert len(metrics[0]) == 3
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-4)
