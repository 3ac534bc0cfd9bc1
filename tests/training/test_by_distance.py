"""Training by distance: a drop comes at the right check or at its last update, and a stop around it changes nothing."""

import hashlib
import json

import pytest
import torch

from lbadvisor.errors import CheckpointError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.checkpoints.checkpoint_file import MAGIC
from lbadvisor.training.loop import recompute_statistics, train
from lbadvisor.training.state import checkpoints, load_checkpoint, save_checkpoint, start_state

CPU = torch.device("cpu")
BODY = {
    "schema": 1,
    "name": "tiny",
    "data": {"name": "digits", "train_examples": 1297},
    "model": {"name": "digits_mlp"},
    "batch": {"size": 100},
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3},
    "batch_norm": {"ghost_batch_size": 32},
    "clipping": {"max_norm": 0.5, "updates": 10},
    "weight_ema": {"decay": 0.9},
    "measurements": {"every_updates": 1},
}


def started(*distances, every=4, planned=(20, 30), **tables):
    milestones = [
        {"update": update, "lr_factor": 0.1 ** (i + 1)} | ({} if distance is None else {"distance": distance})
        for i, (update, distance) in enumerate(zip(planned, distances, strict=True))
    ]
    schedule = {"updates": 40, "warmup_updates": 5, "milestones": milestones}
    schedule |= {"distance_every_updates": every} if any(distances) else {}
    return start_state(in_updates(Recipe.model_validate(BODY | {"schedule": schedule} | tables)), 0, (1, 8, 8), 10, CPU)


def rates(measured):
    return [one.measurement.lr for one in measured]


def moving(state):
    """The weights, averages and everything else that moves, as bytes."""
    tensors = {**state.model.state_dict(), **{f"average {i}": t for i, t in enumerate(state.averages)}}
    tensors |= {f"{n}.{k}": v for n, kept in state.optimizer.state_dict()["state"].items() for k, v in kept.items()}
    return state.milestones, {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def lr(factor):
    return pytest.approx(0.1 * factor)


@pytest.fixture(scope="module")
def plain(digits):
    """The distances of a run with fixed milestones at 20 and 30, after each update, and its state."""
    state = started(None, None)
    return [one.measurement.weight_distance for one in train(state, digits)], state


@pytest.fixture(scope="module")
def straight(digits, plain):
    """A run whose first drop comes at 12, without a stop."""
    state = started(plain[0][8], None)
    list(train(state, digits))
    return state


def test_a_run_whose_distance_never_arrives_drops_at_the_last_updates_bit_for_bit(digits, plain):
    state = started(1e6, 2e6)
    measured = list(train(state, digits))
    assert (state.milestones, state.update, len(measured)) == ((20, 30), 40, 40)
    assert moving(state) == moving(plain[1])


def test_a_distance_that_arrives_brings_its_drop_to_the_first_check_past_it_and_the_end_with_it(digits, plain):
    """Past the distance of update 9: the check after 12 updates sees it, 8 early: then 22 drops again, and 32 ends."""
    distance = (plain[0][8] + plain[0][9]) / 2
    assert plain[0][7] < distance < plain[0][11]
    state = started(distance, None)
    measured = list(train(state, digits))
    assert (state.milestones, state.update, state.last_update) == ((12, 22), 32, 32)
    assert rates(measured)[5:12] == [lr(1)] * 7
    assert rates(measured)[12:22] == [lr(0.1)] * 10
    assert rates(measured)[22:] == [lr(0.01)] * 10
    # As a run that was planned so from the start.
    fixed = started(None, None, planned=(12, 22))
    fixed.recipe = fixed.recipe.model_copy(
        update={"schedule": fixed.recipe.schedule.model_copy(update={"updates": 32})}
    )
    list(train(fixed, digits))
    assert moving(fixed) == moving(state)


def test_drops_follow_one_another_with_one_check_between_them_at_least(digits):
    """Both distances are passed at the first check: 4 updates for the first, 8 for the second; 10 more to the end."""
    state = started(1e-6, 2e-6)
    list(train(state, digits))
    assert (state.milestones, state.update) == ((4, 8), 18)


def test_the_last_update_moves_with_the_drop_before(digits):
    """The first drop comes at 4, 16 early; the second, whose distance never comes, at 30 - 16."""
    state = started(1e-6, 1e6)
    list(train(state, digits))
    assert (state.milestones, state.update) == ((4, 14), 24)


def test_how_often_a_run_is_measured_does_not_move_its_drops(digits, plain):
    states = [started(plain[0][8], None, measurements=cadence) for cadence in ({"every_updates": 1}, {})]
    for state in states:
        list(train(state, digits))
    assert moving(states[0]) == moving(states[1])
    assert states[0].milestones == (12, 22)


@pytest.mark.parametrize("at", [1, 4, 8, 11, 12, 13, 16, 21, 22, 23, 31])
def test_a_run_stopped_at_any_update_around_its_drops_ends_bitwise_equal(digits, plain, straight, tmp_path, at):
    distance = plain[0][8]
    first, second = started(distance, None), started(distance, None)
    updates = train(first, digits)
    for _ in range(at):
        next(updates)
    load_checkpoint(save_checkpoint(tmp_path, first), second)
    assert second.milestones == ((20, 30) if at < 12 else (12, 22))
    list(train(second, digits))
    assert moving(second) == moving(straight)


def test_a_weight_decay_that_starts_at_a_milestone_comes_early_with_it(digits):
    schedule = {
        "updates": 40,
        "milestones": [{"update": 20, "lr_factor": 1.0, "weight_decay": 0.5, "distance": 1e-6}],
    }
    state = start_state(Recipe.model_validate(BODY | {"schedule": schedule}), 0, (1, 8, 8), 10, CPU)
    updates = train(state, digits)
    decays = []
    for _ in updates:
        decays.append(state.optimizer.param_groups[0]["weight_decay"])
    assert decays == [1e-3] * 10 + [0.5] * 20


def test_the_last_update_of_a_shortened_run_is_measured_and_recomputes_the_statistics(digits):
    tables = {"measurements": {"evaluate_every_updates": 15}, "batch_norm": {"recompute_at_end": True}}
    state = started(1e-6, None, **tables)
    measured = [one.measurement for one in train(state, digits) if one is not None]
    assert [m.update for m in measured] == [15, 24]
    assert measured[-1].evaluation_accuracy_percent is not None
    statistics = [buffer.clone() for buffer in state.model.buffers()]
    recompute_statistics(state, digits)
    assert all(torch.equal(a, b) for a, b in zip(statistics, state.model.buffers(), strict=True))


def with_header(path, **changed):
    _, _, header, payload = path.read_bytes().split(b"\n", 3)
    body = json.loads(header) | changed
    body = json.dumps({key: value for key, value in body.items() if value != "dropped"}).encode() + b"\n" + payload
    path.write_bytes(MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)


def test_a_checkpoint_of_an_earlier_version_is_loaded(digits, tmp_path):
    """It stored no milestones: those of its recipe."""
    first, second = started(None, None), started(None, None)
    updates = train(first, digits)
    for _ in range(25):
        next(updates)
    with_header(save_checkpoint(tmp_path, first), milestones="dropped")
    load_checkpoint(checkpoints(tmp_path)[0], second)
    assert (second.update, second.milestones) == (25, (20, 30))


@pytest.mark.parametrize(
    ("milestones", "said"),
    [
        ([12], "its milestones 12 cannot be those of the recipe"),
        ([13, 23], "its milestones 13, 23 cannot"),
        ([28, 38], "its milestones 28, 38 cannot"),
        ([], "its milestones none cannot"),
        ([-4, 6], "the header of the checkpoint"),
        ("12", "the header of the checkpoint"),
    ],
)
def test_milestones_that_the_recipe_cannot_have_are_refused(digits, tmp_path, milestones, said):
    first = started(1e6, None)
    updates = train(first, digits)
    for _ in range(14):
        next(updates)
    with_header(save_checkpoint(tmp_path, first), milestones=milestones)
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(checkpoints(tmp_path)[0], started(1e6, None))


def test_a_checkpoint_past_the_shortened_end_is_refused(digits, tmp_path):
    first = started(1e6, None)
    updates = train(first, digits)
    for _ in range(35):
        next(updates)
    with_header(save_checkpoint(tmp_path, first), milestones=[12, 22])
    with pytest.raises(CheckpointError, match="of update 35, the recipe ends at 32"):
        load_checkpoint(checkpoints(tmp_path)[0], started(1e6, None))
