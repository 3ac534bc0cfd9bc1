"""Dropout, label noise and DropConnect: what they draw, by hand; and that the loop trains with them, and resumes."""

import copy
import shutil
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lbadvisor.errors import DataError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Compute
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.batch import UpdateBatch
from lbadvisor.training.evaluation import evaluate
from lbadvisor.training.loop import recompute_statistics, train
from lbadvisor.training.micro_batches import backward
from lbadvisor.training.regularization import (
    classifier_of,
    dropout_factors,
    dropped_connections,
    kept_factors,
    noisy_labels,
)
from lbadvisor.training.seeds import generator
from lbadvisor.training.state import load_checkpoint, save_checkpoint, start_state

CPU = torch.device("cpu")
BODY = {
    "schema": 1,
    "name": "tiny",
    "data": {"name": "digits", "train_examples": 1297},
    "model": {"name": "digits_mlp"},
    "batch": {"size": 128},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "schedule": {"updates": 6},
    "measurements": {"every_updates": 1},
}
ALL = {"dropout": 0.5, "label_noise": 0.2, "drop_connect": 0.25}

needs_a_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler to compile for a CPU with"
)


def started(micro=None, **tables):
    state = start_state(in_updates(Recipe.model_validate(BODY | tables)), 0, (1, 8, 8), 10, CPU)
    state.micro_size = micro
    return state


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_labels_are_wrong_as_often_as_the_law_says():
    """By hand: 0.2 drawn of 10 classes are 0.18 wrong, each of the nine others 0.02; five standard errors of 10^6."""
    labels = torch.full((1_000_000,), 3)
    noisy = noisy_labels(labels, 0.2, 10, 1, 2)
    shares = torch.bincount(noisy, minlength=10) / 1e6
    assert shares[3].item() == pytest.approx(0.82, abs=5 * (0.82 * 0.18 / 1e6) ** 0.5)
    assert all(shares[k].item() == pytest.approx(0.02, abs=5 * (0.02 * 0.98 / 1e6) ** 0.5) for k in range(10) if k != 3)
    assert torch.equal(labels, torch.full((1_000_000,), 3))


def test_two_classes_are_exchanged_half_of_the_times_that_a_label_is_drawn():
    noisy = noisy_labels(torch.tensor([0, 1]).repeat(200_000), 0.5, 2, 0, 0)
    wrong = (noisy != torch.tensor([0, 1]).repeat(200_000)).double().mean().item()
    assert wrong == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 4e5) ** 0.5)


@pytest.mark.parametrize(("probability", "factor", "variance"), [(0.5, 2.0, 1.0), (0.2, 1.25, 0.25)])
def test_factors_are_zero_or_make_up_for_the_zeros(probability, factor, variance):
    """Mean 1, variance p / (1 - p) by hand."""
    factors = kept_factors((1000, 1000), probability, generator(0, "test", 0)).double()
    assert factors.unique().tolist() == [0.0, factor]
    assert (factors == 0).double().mean().item() == pytest.approx(probability, abs=0.0025)
    assert factors.mean().item() == pytest.approx(1, abs=5 * (variance / 1e6) ** 0.5)
    assert factors.var().item() == pytest.approx(variance, rel=0.02)


def test_all_that_is_drawn_is_a_function_of_seed_and_update():
    state = started(regularization=ALL)
    labels = torch.zeros(128, dtype=torch.int64)

    def draws(seed, update):
        with dropped_connections(state.model, 0.25, seed, update):
            weight = classifier_of(state.model).weight.detach().clone()
        factors = dropout_factors(state.dropout, state.recipe, seed, update)
        return [noisy_labels(labels, 0.2, 10, seed, update), factors, weight]

    torch.manual_seed(0)
    first = draws(1, 2)
    torch.manual_seed(1)
    assert same(first, draws(1, 2))
    for other in (draws(2, 2), draws(1, 3)):
        assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_dropout_drops_what_the_classifier_sees_in_training_alone(digits):
    """The classifier's inputs are those of the network without dropout, each times its factor of the update."""
    state, plain = started(regularization={"dropout": 0.5}), started()
    seen = []
    classifier_of(state.model).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    images, labels = digits.training_batch(state.recipe, 0, 0)
    features = plain.model[:-1](images)
    factors = dropout_factors(state.dropout, state.recipe, 0, 0)
    assert factors.shape == (128, 64)
    backward(state.model, UpdateBatch(images, labels, factors_BF=factors), (128,), Compute(), state.dropout)
    assert torch.equal(seen[0], (features * factors).detach())
    state.model(images)
    assert torch.equal(seen[1], features.detach())
    plain.model.load_state_dict(state.model.state_dict())
    assert evaluate(state, digits) == evaluate(plain, digits)


def test_the_gradient_under_dropped_connections_is_that_of_the_weights_as_they_are(digits):
    """Against a network whose weights are the product w m within autograd; and the weights come back bit for bit."""
    state = started()
    images, labels = digits.training_batch(state.recipe, 0, 0)
    before = [p.detach().clone() for p in state.parameters]
    leaves = {name: p.detach().clone().requires_grad_() for name, p in state.model.named_parameters()}
    with dropped_connections(state.model, 0.25, 0, 7):
        kept = {name: p.detach() != 0 for name, p in state.model.named_parameters()}["10.weight"]
        loss = cross_entropy(state.model(images), labels)
        loss.backward()
    assert same(state.parameters, before)
    assert kept.double().mean().item() == pytest.approx(0.75, abs=5 * (0.25 * 0.75 / 640) ** 0.5)

    product = leaves | {"10.weight": leaves["10.weight"] * (kept / 0.75)}
    by_hand = cross_entropy(torch.func.functional_call(copy.deepcopy(state.model), product, (images,)), labels)
    gradients = torch.autograd.grad(by_hand, list(leaves.values()))
    assert by_hand.item() == pytest.approx(loss.item(), rel=1e-6)
    for found, expected in zip(state.parameters, gradients, strict=True):
        torch.testing.assert_close(found.grad, expected, rtol=1e-4, atol=1e-7)
    assert (state.model[10].weight.grad[~kept] == 0).all()


def test_training_with_all_of_them_equals_torch_written_out_by_hand(digits):
    state, by_hand = started(regularization=ALL), started()
    measured = [m.measurement for m in train(state, digits) if m is not None]
    model, classifier = by_hand.model, by_hand.model[10]
    at = next(i for i, p in enumerate(by_hand.parameters) if p is classifier.weight)
    for update in range(6):
        images, labels = digits.training_batch(by_hand.recipe, 0, update)
        connections = kept_factors((10, 64), 0.25, generator(0, "drop connect", update))
        units = kept_factors((128, 64), 0.5, generator(0, "dropout", update))
        logits = (model[:10](images) * units) @ (classifier.weight * connections).T + classifier.bias
        loss = cross_entropy(logits, noisy_labels(labels, 0.2, 10, 0, update))
        assert measured[update].loss == pytest.approx(loss.item(), rel=1e-5)
        gradients = torch.autograd.grad(loss, by_hand.parameters)
        assert (gradients[at][connections == 0] == 0).all()
        with torch.no_grad():
            for parameter, gradient in zip(by_hand.parameters, gradients, strict=True):
                parameter -= 0.1 * gradient
    for found, expected in zip(state.parameters, by_hand.parameters, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert measured[-1].evaluation_loss == pytest.approx(evaluate(by_hand, digits)[0], rel=1e-3)


@pytest.mark.parametrize("name", ["dropout", "label_noise", "drop_connect"])
def test_a_run_that_is_interrupted_ends_bitwise_equal_and_differs_from_one_without(digits, tmp_path, name):
    tables = {"regularization": {name: ALL[name]}}
    straight, first, second = started(**tables), started(**tables), started(**tables)
    list(train(straight, digits))
    updates = train(first, digits)
    for _ in range(3):
        next(updates)
    load_checkpoint(save_checkpoint(tmp_path, first), second)
    list(train(second, digits))
    assert same(second.model.state_dict().values(), straight.model.state_dict().values())
    without = started()
    list(train(without, digits))
    assert not same(without.parameters, straight.parameters)


def test_micro_batches_change_nothing_but_rounding(digits):
    """Ghosts of 32 in slices of 64 and 32 of a batch of 96: the same labels, masks and connections."""
    tables = {"regularization": ALL, "batch_norm": {"ghost_batch_size": 32}, "batch": {"size": 96}}
    whole, cut = started(**tables), started(micro=64, **tables)
    of_whole, of_cut = ([m.measurement for m in train(state, digits)] for state in (whole, cut))
    for found, expected in zip(cut.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    assert [m.loss for m in of_cut] == pytest.approx([m.loss for m in of_whole], rel=1e-4)


def test_what_is_dropped_stands_behind_every_batch_norm(digits):
    """Running statistics, recomputed ones too, are those of a network without: evaluation meets what training does."""
    dropping, plain = started(regularization={"dropout": 0.5, "drop_connect": 0.5}), started()
    next(train(dropping, digits))
    next(train(plain, digits))
    statistics = [name for name, _ in plain.model.named_buffers()]
    assert len(statistics) == 9
    for _ in range(2):
        assert all(torch.equal(dropping.model.state_dict()[s], plain.model.state_dict()[s]) for s in statistics)
        plain.model.load_state_dict(dropping.model.state_dict())
        recompute_statistics(dropping, digits)
        recompute_statistics(plain, digits)


@needs_a_compiler
def test_compiled_training_drops_the_same(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        compiled, plain = started(regularization=ALL, compute={"compile": True}), started(regularization=ALL)
        of_compiled, of_plain = ([m.measurement for m in train(state, digits)] for state in (compiled, plain))
    torch.compiler.reset()
    for found, expected in zip(compiled.parameters, plain.parameters, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert [m.loss for m in of_compiled] == pytest.approx([m.loss for m in of_plain], rel=1e-5)


def test_a_network_whose_last_layer_is_not_fully_connected_is_refused():
    with pytest.raises(DataError, match="last layer is not fully connected"):
        classifier_of(nn.Sequential(nn.Linear(2, 2), nn.Conv2d(1, 1, 1)))
    squeezenet = {"model": {"name": "torchvision:squeezenet1_1"}, "data": {"name": "own", "train_examples": 200}}
    for name in ("dropout", "drop_connect"):
        recipe = Recipe.model_validate(BODY | squeezenet | {"regularization": {name: 0.5}})
        with pytest.raises(DataError, match=r"remove regularization\.dropout and regularization\.drop_connect"):
            start_state(in_updates(recipe), 0, (3, 64, 64), 10, CPU)
