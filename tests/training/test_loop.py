"""Training, against torch written out by hand; and the promise that stopping changes nothing."""

import copy
import dataclasses

import pytest
import torch
from torch.nn.functional import cross_entropy

from lbadvisor.errors import CheckpointError, RefusedError
from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.data.pixels import normalized
from lbadvisor.training.evaluation import evaluate
from lbadvisor.training.loop import train, weight_distance
from lbadvisor.training.state import checkpoints, load_checkpoint, save_checkpoint, start_state

CPU = torch.device("cpu")
BODY = {
    "schema": 1,
    "name": "tiny",
    "data": {"name": "digits", "train_examples": 1297},
    "model": {"name": "digits_mlp"},
    "batch": {"size": 100},
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3},
    "schedule": {"updates": 30, "milestones": [{"update": 20, "lr_factor": 0.1}]},
    "batch_norm": {"ghost_batch_size": 32},
    "clipping": {"max_norm": 0.5, "updates": 10},
    "measurements": {"every_updates": 4, "evaluate_every_updates": 10},
}


def started(seed=0, **tables):
    return start_state(in_updates(Recipe.model_validate(BODY | tables)), seed, (1, 8, 8), 10, CPU)


def weights(state):
    return [p.detach().clone() for p in state.parameters]


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_training_equals_torch_written_out_by_hand(digits):
    """SGD with momentum, clipping for 10 updates, a drop at 20, plain batch norm: equal bit for bit."""
    state, by_hand = started(batch_norm={}), started(batch_norm={})
    recipe, model = by_hand.recipe, by_hand.model
    list(train(state, digits))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3, fused=True)
    for update in range(30):
        images, labels = digits.training_batch(recipe, 0, update)
        loss = cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        if update < 10:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.param_groups[0]["lr"] = 0.1 if update < 20 else 0.1 * 0.1
        optimizer.step()
    assert same(weights(state), weights(by_hand))


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "rmsprop", "adagrad"])
@pytest.mark.parametrize("at", [1, 13, 29])
def test_an_interrupted_run_ends_bitwise_equal(digits, tmp_path, kind, at):
    """Stopping mid-epoch and between two measurements, saving and loading changes nothing, measurements included."""
    tables = {"optimizer": {"name": kind, "lr": 0.01}, "weight_ema": {"decay": 0.9}}
    straight = started(**tables)
    expected = [m.measurement for m in train(straight, digits) if m is not None]

    first = started(**tables)
    updates = train(first, digits)
    got = [next(updates) for _ in range(at)]
    path = save_checkpoint(tmp_path, first)
    second = started(**tables)
    load_checkpoint(path, second)
    assert second.update == at
    got = [m.measurement for m in [*got, *train(second, digits)] if m is not None]

    assert same(weights(straight), weights(second))
    assert same(straight.averages, second.averages)
    without_time = [[dataclasses.replace(m, seconds=0.0) for m in run] for run in (expected, got)]
    assert without_time[0] == without_time[1]
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


@pytest.mark.parametrize("momentum", [0.1, 0.3])
@pytest.mark.parametrize("definition", ["sequential", "per-update", "mean", "mean-biased", "total"])
def test_a_run_has_the_running_statistics_that_its_recipe_says(digits, definition, momentum):
    """The first layer of batch norm after one update, from the definitions' layer alone."""
    settings = {"ghost_batch_size": 32, "running_statistics": definition, "momentum": momentum}
    state = started(batch_norm=settings)
    first = next(m for m in state.model.modules() if isinstance(m, GhostBatchNorm))
    seen = []
    first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    next(train(state, digits))
    alone = GhostBatchNorm(first.num_features, 32, momentum=momentum, running_statistics=definition)
    alone(seen[0])
    assert len(seen[0]) == 100
    assert torch.equal(first.running_mean, alone.running_mean)
    assert torch.equal(first.running_var, alone.running_var)


def test_plain_batch_norm_has_the_momentum_of_the_recipe():
    norms = [m for m in started(batch_norm={"momentum": 0.3}).model.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert norms
    assert {m.momentum for m in norms} == {0.3}


def test_seeds_differ_and_repeat(digits):
    runs = [started(seed) for seed in (0, 0, 1)]
    for state in runs:
        list(train(state, digits))
    assert same(weights(runs[0]), weights(runs[1]))
    assert not same(weights(runs[0]), weights(runs[2]))


def test_measurements_come_when_due_and_the_last_update_is_evaluated(digits):
    found = [m.measurement for m in train(started(schedule={"updates": 31}), digits) if m is not None]
    assert [m.update for m in found] == [4, 8, 10, 12, 16, 20, 24, 28, 30, 31]
    assert [m.update for m in found if m.evaluation_loss is not None] == [10, 20, 30, 31]
    last = found[-1]
    assert (last.examples, last.epoch) == (3100, pytest.approx(3100 / 1297))


def test_the_loss_and_the_clipped_share_are_means_over_the_interval(digits):
    each = [m.measurement for m in train(started(measurements={"every_updates": 1}), digits) if m is not None]
    some = [m.measurement for m in train(started(measurements={"every_updates": 15}), digits) if m is not None]
    assert some[0].loss == pytest.approx(sum(m.loss for m in each[:15]) / 15)
    assert some[0].clipped_share == pytest.approx(sum(m.clipped_share for m in each[:15]) / 15)
    assert each[9].clipped_share in (0, 1)
    assert all(m.clipped_share == 0 for m in each[10:])


def test_clipping_bounds_the_step_and_ends_with_its_window(digits):
    """Plain SGD: a step is lr * min(norm, 0.5) long during the window; after it, lr * norm."""
    plain = {"optimizer": {"name": "sgd", "lr": 0.1}, "measurements": {"every_updates": 1}}
    state, lengths = started(**plain), []
    updates, before = train(state, digits), weights(state)
    for measured in updates:
        measurement = measured.measurement
        after = weights(state)
        length = torch.nn.utils.get_total_norm([a - b for a, b in zip(after, before, strict=True)]).item()
        lengths.append((length, measurement.lr, measurement.gradient_norm))
        before = after
    assert all(length == pytest.approx(lr * min(norm, 0.5), rel=1e-3) for length, lr, norm in lengths[:10])
    assert all(length == pytest.approx(lr * norm, rel=1e-3) for length, lr, norm in lengths[10:])
    assert any(norm > 0.5 for _, _, norm in lengths[:10])


@pytest.mark.parametrize(
    ("clipping", "clipped_updates"),
    [({"max_norm": 0.05, "updates": 10}, range(10)), ({"max_norm": 0.05}, range(30)), (None, range(0))],
    ids=["warm-up", "whole run", "none"],
)
def test_each_setting_of_clipping_clips_the_updates_that_it_says(digits, clipping, clipped_updates):
    """Plain SGD at a threshold that every gradient exceeds: a clipped step is lr * 0.05 long, any other is longer."""
    tables = {"optimizer": {"name": "sgd", "lr": 0.01}, "schedule": {"updates": 30}, "clipping": clipping}
    state = started(**tables, measurements={"every_updates": 1})
    before = weights(state)
    for update, measured in enumerate(train(state, digits)):
        measurement = measured.measurement
        length = torch.nn.utils.get_total_norm([a - b for a, b in zip(weights(state), before, strict=True)]).item()
        before = weights(state)
        assert measurement.gradient_norm > 0.1
        expected = 0.05 if update in clipped_updates else measurement.gradient_norm
        assert length == pytest.approx(0.01 * expected, rel=1e-3)
        assert measurement.clipped_share == (update in clipped_updates)


def test_the_update_after_the_clipping_warm_up_is_the_unclipped_one(digits):
    """Bit for bit, from the state in which the window ends: as one that never clips goes on from there."""
    clipped, free = started(), started(clipping=None)
    updates = train(clipped, digits)
    for _ in range(10):
        next(updates)
    free.model.load_state_dict(clipped.model.state_dict())
    free.optimizer.load_state_dict(copy.deepcopy(clipped.optimizer.state_dict()))
    free.update = 10
    next(updates)
    next(train(free, digits))
    assert same(weights(clipped), weights(free))


def test_the_weight_distance_is_from_the_first_weights(digits):
    state = started()
    assert weight_distance(state) == 0
    first = torch.cat([w.flatten() for w in weights(state)])
    last = [m.measurement for m in train(state, digits) if m is not None][-1]
    moved = torch.cat([w.flatten() for w in weights(state)]) - first
    assert last.weight_distance == pytest.approx(moved.norm().item(), rel=1e-5)


def test_evaluation_counts_the_right_answers_and_changes_nothing(digits):
    state = started()
    list(train(state, digits))
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    loss, accuracy = evaluate(state, digits)
    state.model.eval()
    with torch.no_grad():
        logits = state.model(normalized(digits, digits.test.images_NCHW))
    assert accuracy == pytest.approx(100 * (logits.argmax(1) == digits.test.labels_N).float().mean().item())
    assert loss == pytest.approx(cross_entropy(logits, digits.test.labels_N).item(), rel=1e-5)
    assert all(torch.equal(before[name], value) for name, value in state.model.state_dict().items())


def test_evaluation_uses_the_averaged_weights_and_puts_the_others_back(digits):
    state = started(weight_ema={"decay": 0.999})
    list(train(state, digits))
    kept = weights(state)
    _, averaged = evaluate(state, digits)
    assert same(kept, weights(state))
    state.averages = None
    _, current = evaluate(state, digits)
    assert averaged < current  # 30 updates at a decay of .999 leave the average near the untrained weights


def test_training_learns_the_digits(digits):
    long = started(schedule={"updates": 300}, clipping=None)
    last = [m.measurement for m in train(long, digits) if m is not None][-1]
    assert last.evaluation_accuracy_percent > 95


def test_the_last_two_checkpoints_are_kept(digits, tmp_path):
    state = started()
    updates = train(state, digits)
    for _ in range(4):
        next(updates)
        save_checkpoint(tmp_path, state)
    assert [p.name for p in checkpoints(tmp_path)] == ["update-0000000004.ckpt", "update-0000000003.ckpt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["update-0000000003.ckpt", "update-0000000004.ckpt"]


def test_a_damaged_checkpoint_is_never_loaded(tmp_path):
    state = started()
    path = save_checkpoint(tmp_path, state)
    whole = path.read_bytes()
    for cut in [0, 10, 100, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(CheckpointError):
            load_checkpoint(path, state)
    for place in range(0, len(whole), len(whole) // 37):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            load_checkpoint(path, state)


def test_a_foreign_checkpoint_is_refused(tmp_path):
    path = save_checkpoint(tmp_path, started(seed=1))
    with pytest.raises(RefusedError, match="seed 1"):
        load_checkpoint(path, started(seed=0))
    with pytest.raises(RefusedError, match="another training"):
        load_checkpoint(path, started(seed=1, batch={"size": 50}))
