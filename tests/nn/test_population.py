"""Statistics of the whole training set: against plain sums in float64, and at the end of a run."""

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from lbadvisor.batch_cuts import ghost_slices
from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
from lbadvisor.nn.moments import moments_of, pooled, split, unbiased
from lbadvisor.nn.population import set_population_statistics, whole_batches
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training import loop
from lbadvisor.training.data.pixels import normalized
from lbadvisor.training.evaluation import evaluate
from lbadvisor.training.loop import train
from lbadvisor.training.state import load_checkpoint, save_checkpoint, start_state

CPU = torch.device("cpu")
GHOST = 4


def small_network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 4), nn.BatchNorm1d(4)).double()


def normalized_by_hand(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    parts = [(part - part.mean(0)) / (part.var(0, correction=0) + 1e-5).sqrt() for part in x.split(sizes)]
    return torch.cat(parts)


@pytest.mark.parametrize("ghost", [GHOST, None])
def test_each_layer_gets_the_moments_of_its_input_as_training_normalizes(ghost):
    """Two batches, of 13 and 10 examples; the second layer sees what the ghosts of the first one left."""
    network = small_network()
    batches = [2 + torch.randn(size, 6, dtype=torch.float64) for size in (13, 10)]
    first, second = [], []
    for x in batches:
        inner = network[0](x)
        first.append(inner)
        sizes = (len(x),) if ghost is None else ghost_slices(len(x), ghost)
        second.append(network[3](torch.tanh(normalized_by_hand(inner, sizes))))
    before = copy.deepcopy(network.state_dict())
    trained = network if ghost is None else GhostBatchNorm.convert_ghost_batchnorm(network, ghost)
    set_population_statistics(trained, batches)
    for layer, inputs in ((trained[1], torch.cat(first)), (trained[4], torch.cat(second))):
        torch.testing.assert_close(layer.running_mean, inputs.mean(0), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(layer.running_var, inputs.var(0), rtol=1e-12, atol=1e-12)
        assert not layer._forward_pre_hooks
    kept = {name for name in before if "running" not in name}
    assert all(torch.equal(trained.state_dict()[name], before[name]) for name in kept)


def test_moments_are_those_of_all_values_whatever_the_cuts():
    x = 1e3 + torch.randn(50, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moments = pooled(torch.stack([torch.zeros(7), *map(moments_of, x.split((1, 20, 29)))]))
    assert moments[0] == 50 * 2 * 2
    torch.testing.assert_close(split(moments)[1], x.mean((0, 2, 3)), rtol=1e-14, atol=0)
    torch.testing.assert_close(unbiased(moments), x.var((0, 2, 3)), rtol=1e-11, atol=0)


@pytest.mark.parametrize(
    ("examples", "sizes"),
    [(10, [10]), (20, [10, 10]), (24, [10, 14]), (25, [10, 10, 5]), (13, [13]), (29, [10, 10, 9])],
)
def test_every_example_is_taken_once_in_batches_like_those_of_training(examples, sizes):
    stream = (torch.arange(10 * i, 10 * i + 10) for i in range(100))
    found = list(whole_batches(stream, 10, examples))
    assert [len(batch) for batch in found] == sizes
    assert torch.equal(torch.cat(found), torch.arange(examples))


BODY = {
    "schema": 1,
    "name": "tiny",
    "data": {"name": "digits", "train_examples": 1297},
    "model": {"name": "digits_mlp"},
    "batch": {"size": 100},
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    "schedule": {"updates": 12},
    "batch_norm": {"ghost_batch_size": 32, "recompute_at_end": True},
    "measurements": {"every_updates": 4},
}


def started(**tables):
    return start_state(in_updates(Recipe.model_validate(BODY | tables)), 0, (1, 8, 8), 10, CPU)


def first_norm(state):
    return next(m for m in state.model.modules() if isinstance(m, nn.BatchNorm1d | GhostBatchNorm))


def first_linear(state):
    return next(m for m in state.model.modules() if isinstance(m, nn.Linear))


@pytest.mark.parametrize("ghosts", [{"ghost_batch_size": 32}, {}], ids=["ghosts", "plain"])
def test_a_run_ends_with_the_statistics_of_its_training_set_and_evaluates_with_them(digits, ghosts):
    state = started(batch_norm=ghosts | {"recompute_at_end": True})
    last = [m.measurement for m in train(state, digits) if m is not None][-1]
    x = first_linear(state)(normalized(digits, digits.train.images_NCHW).flatten(1)).double()
    torch.testing.assert_close(first_norm(state).running_mean.double(), x.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(first_norm(state).running_var.double(), x.var(0), rtol=1e-5, atol=1e-5)
    assert (last.evaluation_loss, last.evaluation_accuracy_percent) == evaluate(state, digits)
    assert state.model.training

    without = started(batch_norm=ghosts)
    assert [m.measurement for m in train(without, digits) if m is not None][-1].evaluation_loss != last.evaluation_loss
    assert all(torch.equal(a, b) for a, b in zip(state.parameters, without.parameters, strict=True))


def test_the_statistics_are_those_of_the_averaged_weights_where_these_are_evaluated(digits):
    state = started(weight_ema={"decay": 0.9})
    list(train(state, digits))
    (weight, bias), averages = first_linear(state).parameters(), state.averages
    index = next(i for i, p in enumerate(state.parameters) if p is weight)
    flat = normalized(digits, digits.train.images_NCHW).flatten(1)
    averaged, current = (nn.functional.linear(flat, w, b) for w, b in (averages[index : index + 2], (weight, bias)))
    torch.testing.assert_close(first_norm(state).running_mean, averaged.mean(0), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(first_norm(state).running_mean, current.mean(0), rtol=1e-2)


def test_a_run_that_is_killed_while_it_recomputes_ends_bitwise_equal(digits, tmp_path, monkeypatch):
    """The checkpoint of the last update but one is gone on with: the last update and the statistics come again."""
    straight = started()
    expected = [m.measurement for m in train(straight, digits) if m is not None]

    killed = started()
    updates = train(killed, digits)
    got = [next(updates) for _ in range(11)]
    path = save_checkpoint(tmp_path, killed)

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "set_statistics", kill)
        with pytest.raises(KeyboardInterrupt):
            next(updates)
    again = started()
    load_checkpoint(path, again)
    got = [m.measurement for m in [*got, *train(again, digits)] if m is not None]
    assert [dataclasses.replace(m, seconds=0.0) for m in got] == [dataclasses.replace(m, seconds=0.0) for m in expected]
    assert all(torch.equal(v, straight.model.state_dict()[name]) for name, v in again.model.state_dict().items())


@pytest.mark.parametrize("definition", ["per-update", "mean", "total"])
def test_after_recomputing_nothing_is_left_of_the_definition(digits, definition):
    settings = {"ghost_batch_size": 32, "recompute_at_end": True, "running_statistics": definition, "momentum": 0.3}
    runs = [started(), started(batch_norm=settings)]
    for state in runs:
        list(train(state, digits))
    for name in ("running_mean", "running_var"):
        assert torch.equal(*(getattr(first_norm(state), name) for state in runs))
