"""What training measures only if the recipe asks: the values, and that measuring changes no bit of the training."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lbadvisor.nn.layer_groups import layer_groups
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Measurements
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.records.quantities import (
    GRADIENT_SQUARE,
    GRADIENT_VARIANCE,
    GROUP_DISTANCE,
    GROUP_NORM,
    METRIC,
    READINGS,
)
from lbadvisor.training.loop import train, weight_distance
from lbadvisor.training.noise_readings import NOISE_EVERY_UPDATES, noise_readings, reads_noise
from lbadvisor.training.state import start_state
from lbadvisor.training.update_batch import add_gradients, update_batch

CPU = torch.device("cpu")
BODY = {
    "schema": 1,
    "name": "tiny",
    "data": {"name": "digits", "train_examples": 1297},
    "model": {"name": "digits_mlp"},
    "batch": {"size": 100},
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    "schedule": {"updates": 12},
}
MEASURED = {"every_updates": 1, "evaluate_every_updates": 5}


def started(**tables):
    return start_state(in_updates(Recipe.model_validate(BODY | tables)), 0, (1, 8, 8), 10, CPU)


def measuring(*also, **tables):
    return started(measurements=MEASURED | {"also": list(also)}, **tables)


def test_the_readings_of_layers_are_norms_over_their_group(digits):
    state = measuring("layers")
    measured = list(train(state, digits))
    assert all(one is not None for one in measured)
    last = {(one.quantity, one.part): one.value for one in measured[-1].readings}
    for group, places in layer_groups(state.model).items():
        moves = torch.cat([(state.parameters[i] - state.initial[i]).detach().flatten() for i in places])
        weights = torch.cat([state.parameters[i].detach().flatten() for i in places])
        assert last[GROUP_DISTANCE.key, group] == pytest.approx(float(moves.norm()), rel=1e-5)
        assert last[GROUP_NORM.key, group] == pytest.approx(float(weights.norm()), rel=1e-5)
    squares = [value**2 for (quantity, _), value in last.items() if quantity == GROUP_DISTANCE.key]
    assert math.sqrt(sum(squares)) == pytest.approx(weight_distance(state), rel=1e-5)
    assert {reading.update for one in measured for reading in one.readings} == set(range(1, 13))


def test_nothing_is_read_unless_the_recipe_asks(digits):
    assert all(one.readings == () for one in train(measuring(), digits))


def by_hand(state, digits, *batches):
    """|g|^2 and tr S from the gradients of two batches, written out: the difference of the two is all noise."""
    gradients = []
    for images, labels in batches:
        model = copy.deepcopy(state.model)
        loss = cross_entropy(model(images), labels)
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))]).double())
    (one, two), (m, n) = gradients, [len(labels) for _, labels in batches]
    examples = digits.train_examples
    noise = (float(one @ one) + float(two @ two)) / 2 - float(((m * one + n * two) / (m + n)).square().sum())
    variance = noise / ((1 / m + 1 / n) / 2 - 1 / (m + n))
    return float(((m * one + n * two) / (m + n)).square().sum()) - variance * (1 / (m + n) - 1 / examples), variance


@pytest.mark.parametrize("micro_size", [None, 32])
def test_a_batch_of_ghosts_is_read_by_its_halves(digits, micro_size):
    """A batch of 100 in ghosts of 32, the last of 36: 32 examples and 68, in that order."""
    state = measuring("noise", batch_norm={"ghost_batch_size": 32})
    state.micro_size = micro_size
    images, labels = digits.training_batch(state.recipe, 0, 0)
    expected = by_hand(state, digits, (images[:32], labels[:32]), (images[32:], labels[32:]))
    read = next(train(state, digits)).readings
    assert [(one.update, one.quantity, one.part) for one in read] == [
        (1, GRADIENT_SQUARE.key, ""),
        (1, GRADIENT_VARIANCE.key, ""),
    ]
    assert [one.value for one in read] == pytest.approx(expected, rel=1e-3)


def test_a_batch_that_is_one_ghost_is_read_with_the_next_one(digits):
    """Clipping, which scales the gradient afterwards, does not touch it."""
    state = measuring("noise", clipping={"max_norm": 0.01})
    expected = by_hand(state, digits, *(digits.training_batch(state.recipe, 0, update) for update in (0, 1)))
    assert [one.value for one in next(train(state, digits)).readings] == pytest.approx(expected, rel=1e-3)


def test_dropout_of_the_networks_own_does_not_bias_the_readings(digits):
    """It is noise of each example, so tr S is the mean over masks of |g_n|^2, without the |g|^2 of its mean.

    Softmax regression, the pixels dropped at 1/2: by hand from 300 masks of every example. Read from halves, of which
    one would have the difference of two masks in it, tr S would come out three times its part by the masks too high.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
    images, labels = digits.training_batch(started(batch={"size": 1297}).recipe, 0, 0)
    squares, total = torch.zeros((), dtype=torch.float64), 0.0
    for _ in range(300):
        inputs_ND = model[1](images.flatten(1))
        errors_NK = (model[2](inputs_ND).softmax(1) - nn.functional.one_hot(labels, 10)).detach()
        inputs_ND = torch.cat([inputs_ND, torch.ones(1297, 1)], 1)
        squares += (errors_NK.square().sum(1) * inputs_ND.square().sum(1)).double().mean() / 300
        total = total + errors_NK.double().T @ inputs_ND.double() / 1297 / 300
    expected = float(squares - total.square().sum())
    state, found = measuring("noise", batch={"size": 100}), []
    state.model, state.parameters = model, list(model.parameters())
    for seed in range(300):
        state.seed = seed
        batch = update_batch(state, digits, 0)
        model.zero_grad()
        add_gradients(state, batch, model, (100,))
        found.append(noise_readings(state, digits, batch)[1].value)
    assert sum(found) / len(found) == pytest.approx(expected, rel=0.08)


def test_micro_batches_read_the_same_ghosts(digits):
    """A remainder of 6 joins the last of 7 ghosts of 32, in one pass or several; the dropout never drops."""
    found = []
    for micro_size in (None, 32):
        state = measuring("noise", batch={"size": 230}, batch_norm={"ghost_batch_size": 32})
        state.model.append(nn.Dropout(1e-12))
        state.micro_size = micro_size
        found.append([reading.value for reading in next(train(state, digits)).readings])
    assert found[1] == pytest.approx(found[0], rel=1e-4)


@pytest.mark.parametrize("size", [1, 100])
def test_the_readings_are_unbiased(digits, size):
    """Softmax regression without batch norm, whose gradients are known one by one: over 300 orders of the examples."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    images, labels = digits.training_batch(started(batch={"size": 1297}).recipe, 0, 0)
    errors_NK = model(images).softmax(1) - nn.functional.one_hot(labels, 10)
    inputs_ND = torch.cat([images.flatten(1), torch.ones(1297, 1)], 1)
    gradients = (errors_NK[:, :, None] * inputs_ND[:, None, :]).flatten(1).detach().double()
    expected = float(gradients.mean(0).square().sum()), float(gradients.var(0, correction=1).sum())
    state, found = measuring("noise", batch={"size": size}), []
    state.model, state.parameters = model, list(model.parameters())
    for seed in range(300):
        state.seed = seed
        batch = update_batch(state, digits, 0)
        model.zero_grad()
        add_gradients(state, batch, model, (size,))
        found.append([reading.value for reading in noise_readings(state, digits, batch)])
    values = torch.tensor(found, dtype=torch.float64)
    errors = (values.mean(0) - torch.tensor(expected)) / (values.std(0) / len(values) ** 0.5)
    assert errors.abs().max() < 3.5
    assert values.mean(0)[1] == pytest.approx(expected[1], rel=0.1)


def test_nothing_is_read_of_batches_that_are_the_whole_training_set(digits):
    assert next(train(measuring("noise", batch={"size": 1297}), digits)).readings == ()


@pytest.mark.parametrize("cadence", [(1, None), (10, None), (None, 7), (10, 81), (64, 64), (100, 300), (1000, None)])
def test_the_noise_is_read_at_most_once_in_100_updates_and_always_once(cadence):
    measurements = Measurements(every_updates=cadence[0], evaluate_every_updates=cadence[1], also=("noise",))
    measured = [u for u in range(1, 2001) if any(each and u % each == 0 for each in cadence) or u == 2000]
    read = [update for update in measured if reads_noise(measurements, update)]
    assert read[0] == measured[0]
    assert len({update // NOISE_EVERY_UPDATES for update in read}) == len(read)
    # Every measurement, if they are rarer than that.
    assert max(b - a for a, b in pairwise(read)) <= max(2 * NOISE_EVERY_UPDATES, min(each for each in cadence if each))


def test_every_quantity_that_can_be_read_names_what_asks_for_it():
    """The metric is asked for by task.metric."""
    assert [quantity for quantity in READINGS if quantity.also is None] == [METRIC]


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"batch_norm": {"ghost_batch_size": 32}, "regularization": {"dropout": 0.3, "label_noise": 0.1}},
        {"batch_norm": {"ghost_batch_size": 32}, "clipping": {"max_norm": 0.5}, "weight_ema": {"decay": 0.9}},
        {"gradient_noise": {"kind": "gaussian", "ratio": 4.0}, "regularization": {"drop_connect": 0.2}},
    ],
    ids=["plain", "ghosts and dropout", "ghosts, clipping and averages", "noise and drop connect"],
)
def test_measuring_changes_no_bit_of_the_training(digits, tables):
    """Weights, batch norm's running statistics, the optimizer, the averages: all that a checkpoint holds."""
    plain, measured = started(**tables), measuring("layers", "noise", **tables)
    list(train(plain, digits))
    read = [reading.quantity for one in train(measured, digits) for reading in one.readings]
    assert {GRADIENT_SQUARE.key, GROUP_NORM.key} < set(read)
    pairs = [
        *zip(plain.model.state_dict().values(), measured.model.state_dict().values(), strict=True),
        *zip(plain.averages or (), measured.averages or (), strict=True),
        *(
            (of_plain["momentum_buffer"], of_measured["momentum_buffer"])
            for of_plain, of_measured in zip(
                plain.optimizer.state.values(), measured.optimizer.state.values(), strict=True
            )
        ),
    ]
    assert all(torch.equal(left, right) for left, right in pairs)
