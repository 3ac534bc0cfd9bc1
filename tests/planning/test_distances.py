"""The distances at a baseline's milestones, read from one of its runs; worked by hand."""

import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lbadvisor.errors import PlanError, RefusedError
from lbadvisor.planning.arms import parse_arms
from lbadvisor.planning.caveats import caveats_of_adapted
from lbadvisor.planning.distances import Distances, check_measured, distances_of
from lbadvisor.planning.plan import advise, plan_json, plan_of_json
from lbadvisor.planning.planned_arms import planned, planned_arms, with_distances
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.parts import PARTS
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates, scaled
from lbadvisor.records.run import Environment, Measurement, Run, RunStatus

RECIPES = Path(__file__).parents[2] / "recipes"
DIGITS = load_recipe(RECIPES / "digits.toml")
MNIST = load_recipe(RECIPES / "mnist_f1.toml")


def run_of(recipe):
    nowhere = Environment("cpu", "", "", "", "", None, None)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Run(1, "sb", in_updates(recipe), None, 0, RunStatus.COMPLETE, None, 405, 405, nowhere, now, now, 0)


def measured(**distances):
    return [Measurement(int(u[1:]), 0.0, 0, 1.0, 0.1, 1.0, 0.0, d, None, None, 0.0) for u, d in distances.items()]


def test_between_two_measurements_the_distance_grows_with_the_logarithm_of_the_updates():
    """Milestones at 203 and 304. 2 + ln(203), and 7 + 2 ln(304/250), on curves that are measured elsewhere."""
    curve = measured(u100=2 + math.log(100), u250=2 + math.log(250), u400=2 + math.log(250) + 2 * math.log(400 / 250))
    found = distances_of(run_of(DIGITS), curve, DIGITS)
    # ln 203 = 5.313206, ln 250 = 5.521461, ln(304/250) = 0.195567
    assert found == Distances((7.31321, 7.91259), "sb")
    exact = distances_of(run_of(DIGITS), measured(u203=5.0, u304=6.0), DIGITS)
    assert exact.at_milestones == (5.0, 6.0)


def test_a_milestone_that_the_weights_hardly_moved_to_has_no_distance():
    """Until 203 they moved 4.06 / 203 = 0.02 an update, 0.2 between checks: 0.19 more is none, 0.21 more is one."""
    for more, expected in ((0.19, (4.06, None)), (0.21, (4.06, 4.27)), (-1.0, (4.06, None))):
        assert distances_of(run_of(DIGITS), measured(u203=4.06, u304=4.06 + more), DIGITS).at_milestones == expected


def test_a_run_that_does_not_tell_the_distances_is_refused():
    for curve in (measured(), measured(u203=5.0), measured(u210=5.0, u400=6.0), measured(u10=1.0, u300=5.0)):
        with pytest.raises(PlanError, match="the run `sb` was not measured both before and after its milestone at"):
            distances_of(run_of(DIGITS), curve, DIGITS)
    curve = measured(u203=5.0, u304=6.0)
    other = Recipe.model_validate(DIGITS.model_dump() | {"batch": {"size": 64}})
    with pytest.raises(RefusedError, match=r"`sb` is no run of the baseline:\n  batch\.size: 64 there, 32 here"):
        distances_of(run_of(other), curve, DIGITS)
    with pytest.raises(RefusedError, match=r"model\.name: f1 there, digits_mlp here"):
        distances_of(run_of(MNIST), curve, DIGITS)
    for schedule, said in (
        ({"epochs": 10.0}, "the schedule of digits has no milestones"),
        ({"epochs": 10.0, "decay": "cosine"}, 'the schedule of digits has decay = "cosine"'),
    ):
        without = Recipe.model_validate(DIGITS.model_dump() | {"schedule": schedule})
        with pytest.raises(PlanError, match=said):
            distances_of(run_of(without), curve, without)


def test_an_adapted_recipe_holds_the_distances_and_says_where_they_are_from():
    distances = Distances((9.5, None), "digits-32-s0")
    plan = advise(DIGITS, Request(256, PARTS, distances=distances))
    schedule = plan.adapted.schedule
    assert [(m.update, m.distance) for m in schedule.milestones] == [(203, 9.5), (304, None)]
    assert (schedule.updates, schedule.distance_every_updates) == (405, 10)
    assert (plan.adapted.adapted_from.distances_from, plan.adapted.adapted_from.additions) == (
        "digits-32-s0",
        ("distance",),
    )
    assert plan_of_json(plan_json(plan)) == plan
    fewer = advise(DIGITS, Request(256, ("lr",), distances=distances)).adapted.schedule
    # At fixed epochs, with an eighth of the updates: 203/8, and a check at every 10/8.
    assert ([m.update for m in fewer.milestones], fewer.distance_every_updates) == ([25, 38], 1)
    given = DIGITS.model_copy(update={"schedule": schedule})
    kept = next(one for one in advise(given, Request(512, PARTS)).adjustments if one.field.endswith("distance"))
    assert (kept.before, kept.after, kept.rule) == ((9.5, None), (9.5, None), "kept")


def codes(recipe, distances):
    plan = advise(recipe, Request(2 * recipe.batch.size, PARTS, distances=distances))
    own = {"short-for-distance", "distance-and-batch-norm", "drops-without-distance"}
    found = {caveat.code: caveat.message for caveat in plan.warnings if caveat.code in own}
    adapted = {caveat.code for caveat in caveats_of_adapted(plan.adapted)} & own
    assert adapted == found.keys() - {"drops-without-distance"}
    return found


def test_the_warnings_of_a_schedule_by_distance_come_where_their_condition_holds():
    """203 updates are 2.3 decades, 81 are 1.9. `plain` has no batch norm."""
    assert codes(DIGITS, None) == {}
    both, one = Distances((9.0, 9.9), "sb"), Distances((9.0, None), "sb")
    assert codes(DIGITS, both).keys() == {"distance-and-batch-norm"}
    assert (
        "in sb the weights hardly moved before the milestone at update 304:"
        in codes(DIGITS, one)["drops-without-distance"]
    )
    short = codes(scaled(DIGITS, 0.4), both)
    assert short.keys() == {"distance-and-batch-norm", "short-for-distance"}
    assert "after 81 updates, or 1.9 decades" in short["short-for-distance"]


def test_the_arm_is_known_once_its_distances_are():
    asked = Request(256, ())
    _, arm = planned_arms(parse_arms("sb,distance", 2), DIGITS, asked)[0]
    assert (arm.awaits_distances, arm.is_by_distance, arm.updates) == (True, True, 405)
    assert "distance-and-batch-norm" in {caveat.code for caveat in arm.plan.warnings}
    known = with_distances(arm, Distances((9.0, None), "sb"))
    assert (known.awaits_distances, known.is_by_distance, known.seeds) == (False, True, 2)
    assert [m.distance for m in known.recipe.schedule.milestones] == [9.0, None]
    sb = planned(parse_arms("sb", 1)[0][0], DIGITS, asked)
    assert not sb.is_by_distance


def test_an_arm_without_a_run_to_follow_is_refused():
    with pytest.raises(PlanError, match="the arm distance takes its distances from a run of sb: name that arm as well"):
        planned_arms(parse_arms("lb,distance", 1), DIGITS, Request(256, ()))
    late = DIGITS.model_copy(update={"measurements": type(DIGITS.measurements)(every_updates=204)})
    with pytest.raises(
        PlanError, match=r"the arm distance: digits is not measured before its first milestone, at update 203"
    ):
        planned_arms(parse_arms("sb,distance", 1), late, Request(256, ()))
    check_measured(DIGITS)
