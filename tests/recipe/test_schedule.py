"""The clock: epochs into updates, and the rates at an update."""

import math

import pytest

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import epochs_of, in_updates, rates_at, scaled, updates_of


def recipe(**tables):
    body = {
        "schema": 1,
        "name": "r",
        "data": {"name": "cifar10", "train_examples": 50_000},
        "model": {"name": "resnet44"},
        "batch": {"size": 128},
        "optimizer": {"name": "sgd", "lr": 0.1, "weight_decay": 1e-4},
        "schedule": {"epochs": 200},
    }
    return Recipe.model_validate(body | tables)


def test_epochs_become_updates_once_and_a_half_goes_to_the_even_number():
    assert [updates_of(e, 50_000, 128) for e in (81, 122, 164, 200)] == [31_641, 47_656, 64_062, 78_125]
    assert epochs_of(78_125, 50_000, 128) == 200


@pytest.mark.parametrize("batch_size", [128, 256, 1000, 2048, 4096, 8192])
def test_regime_adaptation_is_the_identity_in_updates(batch_size):
    """Multiplying epochs by the ratio and counting whole batches would give 39 200 to 44 800 instead of 39 062."""
    assert updates_of(100 * batch_size / 128, 50_000, batch_size) == updates_of(100, 50_000, 128) == 39_062


def test_every_length_of_a_recipe_is_turned_into_updates():
    r = in_updates(
        recipe(
            schedule={"epochs": 200, "milestones": [{"epoch": 81, "lr_factor": 0.1}], "warmup_epochs": 5},
            clipping={"max_norm": 5.0, "epochs": 1},
            measurements={"every_epochs": 0.25, "evaluate_every_epochs": 1},
        )
    )
    assert (r.schedule.updates, r.schedule.epochs, r.schedule.warmup_updates) == (78_125, None, 1953)
    assert r.schedule.milestones[0].update == 31_641
    assert r.clipping is not None
    assert r.clipping.updates == 391
    assert (r.measurements.every_updates, r.measurements.evaluate_every_updates) == (98, 391)
    assert in_updates(r) == r


def test_a_scaled_schedule_keeps_its_shape_and_its_cadences():
    r = scaled(recipe(schedule={"epochs": 200, "milestones": [{"epoch": 81, "lr_factor": 0.1}]}), 0.25)
    assert (r.schedule.epochs, r.schedule.milestones[0].epoch) == (50, 20.25)
    assert r.measurements == recipe().measurements
    shorter = scaled(in_updates(recipe()), 1e-9)
    assert shorter.schedule.updates == 1


def test_a_milestone_holds_from_its_update_on_and_may_change_the_weight_decay():
    r = recipe(
        schedule={
            "updates": 100,
            "milestones": [{"update": 10, "lr_factor": 0.1}, {"update": 20, "lr_factor": 0.01, "weight_decay": 0.0}],
        }
    )
    rates = [rates_at(r, update) for update in (9, 10, 19, 20, 99)]
    assert [x.lr for x in rates] == pytest.approx([0.1, 0.01, 0.01, 0.001, 0.001])
    assert [x.weight_decay for x in rates] == [1e-4, 1e-4, 1e-4, 0.0, 0.0]


def test_a_warm_up_is_linear_and_reaches_the_full_rate_with_its_last_update():
    r = recipe(schedule={"updates": 100, "warmup_updates": 4, "warmup_lr_factor": 0.2})
    assert [rates_at(r, u).lr for u in range(5)] == pytest.approx([0.04, 0.06, 0.08, 0.1, 0.1])


@pytest.mark.parametrize(
    ("decay", "half_way"), [("cosine", (1 + 0.01) / 2), ("linear", (1 + 0.01) / 2), ("exponential", math.sqrt(0.01))]
)
def test_a_curve_runs_from_the_learning_rate_to_its_final_factor(decay, half_way):
    r = recipe(schedule={"updates": 100, "decay": decay, "final_lr_factor": 0.01})
    assert rates_at(r, 0).lr == pytest.approx(0.1)
    assert rates_at(r, 50).lr == pytest.approx(0.1 * half_way)
    assert rates_at(r, 100).lr == pytest.approx(0.001)
