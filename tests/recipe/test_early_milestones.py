"""A schedule by distance: what an early milestone moves, worked by hand."""

import pytest

from lbadvisor.recipe.early_milestones import (
    checked_milestone,
    has_more,
    is_possible,
    last_update,
    moved_to,
    planned_milestones,
    with_milestones,
)
from lbadvisor.recipe.identity import differences, digest_of
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates, rates_at, scaled

MILESTONES = (
    {"update": 100, "lr_factor": 0.1, "distance": 4.0},
    {"update": 150, "lr_factor": 0.01, "weight_decay": 0.5},
    {"update": 170, "lr_factor": 0.001, "distance": 5.0},
)


def recipe(milestones=MILESTONES, **schedule):
    body = {
        "schema": 1,
        "name": "small",
        "data": {"name": "digits", "train_examples": 1000},
        "model": {"name": "digits_mlp"},
        "batch": {"size": 50},
        "optimizer": {"name": "sgd", "lr": 1.0},
        "schedule": {"updates": 200, "milestones": milestones} | schedule,
    }
    return Recipe.model_validate(body)


def test_an_early_milestone_moves_all_that_follows_it_and_nothing_before():
    """40 updates early: 150 becomes 110, 170 becomes 130, the end 160; then the third 10 early: 120, and 150."""
    plain = recipe()
    assert planned_milestones(plain) == (100, 150, 170)
    assert with_milestones(plain, (100, 150, 170)) is plain
    first = moved_to((100, 150, 170), 0, 60)
    assert (first, last_update(plain, first)) == ((60, 110, 130), 160)
    second = moved_to(first, 2, 120)
    assert (second, last_update(plain, second)) == ((60, 110, 120), 150)
    moved = with_milestones(plain, second)
    assert planned_milestones(moved) == second
    assert moved.schedule.updates == 150
    assert [rates_at(moved, u).lr for u in (0, 59, 60, 109, 110, 119, 120, 149)] == pytest.approx(
        [1.0, 1.0, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )
    assert [rates_at(moved, u).weight_decay for u in (109, 110, 120)] == [0.0, 0.5, 0.5]


def test_the_milestone_to_check_is_the_next_one_at_the_recipes_cadence():
    """Every 10 updates, until it has come; while one without a distance is next, nothing is checked."""
    plain = recipe()
    assert checked_milestone(plain, 10) == (0, 4.0)
    assert checked_milestone(plain, 90) == (0, 4.0)
    assert [checked_milestone(plain, update) for update in (1, 95, 100, 140, 170, 190)] == [None] * 6
    assert checked_milestone(plain, 150) == (2, 5.0)
    moved = with_milestones(plain, (60, 110, 130))
    assert [checked_milestone(moved, update) for update in (60, 100, 110, 120, 130)] == [
        None, None, (2, 5.0), (2, 5.0), None,
    ]  # fmt: skip
    assert checked_milestone(recipe(distance_every_updates=7), 14) == (0, 4.0)
    assert checked_milestone(recipe([{"update": 100, "lr_factor": 0.1}]), 10) is None
    assert has_more(plain, (100, 150, 170), 100)
    assert not has_more(plain, (60, 110, 130), 130)


def test_milestones_that_no_training_can_have_are_told():
    plain = recipe()
    for milestones, update in (
        ((100, 150, 170), 0),
        ((60, 110, 130), 60),
        ((60, 110, 120), 120),
        ((100, 150, 160), 199),
    ):
        assert is_possible(plain, milestones, update)
    for milestones, update in (
        ((60, 110), 60),  # too few
        ((60, 110, 130), 50),  # of an update that is not made yet
        ((65, 115, 135), 70),  # not at a check
        ((110, 160, 180), 120),  # late
        ((60, 150, 170), 60),  # the others stayed
        ((100, 140, 160), 199),  # the second has no distance
        ((0, 50, 70), 10),
        ((60, 110, 110), 120),  # two at one update
    ):
        assert not is_possible(plain, milestones, update)


def test_distances_and_their_cadence_decide_what_is_trained_and_defaults_do_not():
    plain = recipe([{"update": 100, "lr_factor": 0.1}])
    by_distance = recipe([{"update": 100, "lr_factor": 0.1, "distance": 4.0}])
    assert len({digest_of(one) for one in (plain, by_distance, recipe(), recipe(distance_every_updates=5))}) == 4
    assert digest_of(recipe(distance_every_updates=10)) == digest_of(recipe())
    assert digest_of(recipe(kind="distance")) == digest_of(recipe())
    assert differences(recipe(kind="distance"), recipe()) == []
    in_epochs = recipe([{"epoch": 5.0, "lr_factor": 0.1, "distance": 4.0}], updates=None, epochs=10.0)
    assert digest_of(in_updates(in_epochs)) == digest_of(by_distance)
    assert [m.distance for m in scaled(recipe(), 0.5).schedule.milestones] == [4.0, None, 5.0]
