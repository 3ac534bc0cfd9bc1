"""What training measures only if the recipe asks: the values, and that measuring changes no bit of the training."""

import math

import pytest
import torch

from lbadvisor.nn.layer_groups import layer_groups
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.records.quantities import GROUP_DISTANCE, GROUP_NORM, READINGS
from lbadvisor.training.loop import train, weight_distance
from lbadvisor.training.state import start_state

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


def test_every_quantity_that_can_be_read_names_what_asks_for_it():
    assert all(quantity.also is not None for quantity in READINGS)


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
    plain, measured = started(**tables), measuring("layers", **tables)
    list(train(plain, digits))
    list(train(measured, digits))
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
