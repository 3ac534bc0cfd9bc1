"""What a refinement may conclude, and where it searches."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from lbadvisor.errors import RecipeError, UsageError
from lbadvisor.planning.request import Request
from lbadvisor.planning.rules import rule_of_exponent
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.parts import PARTS
from lbadvisor.recipe.recipe import recipe_hash
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.recipe.validation import with_validation
from lbadvisor.refine.refinement import CurvePoint, ExponentEstimate, conclude, noise_of_means, paired_gain
from lbadvisor.refine.search_space import Dimension, SearchSpace, plan_at, search_space

DIGITS = Path(__file__).parents[2] / "recipes" / "digits.toml"
SPACE = SearchSpace((Dimension("exponent", 0.0, 1.0, 0.5),))


@pytest.fixture
def digits():
    return load_recipe(DIGITS)


def estimate(chosen=0.4, low=0.3, high=0.6, gain_low=-0.1):
    curve = (CurvePoint(0.5, 2.0, 1.9, 2.1),)
    return ExponentEstimate(0.4, low, high, (chosen,), 0.2, gain_low, 0.5, curve)


def test_a_gain_inside_the_noise_keeps_one_half_and_says_so():
    kept, text = conclude(SPACE, estimate(), "error", 3, 120.0, 3600.0)
    assert kept == (0.5,)
    assert "The best scaling exponent is 0.40, 95% between 0.30 and 0.60" in text
    assert "the theory's 0.5 is inside, the linear rule's 1.0 outside" in text
    assert "is 0.20 points (95% -0.10 to 0.50), for 120 epochs and 60 min: within the noise, so 0.5 is kept" in text


def test_a_certain_gain_is_taken_with_its_price():
    kept, text = conclude(SPACE, estimate(gain_low=0.05, high=0.45), "error", 1, 120.0, 90.0)
    assert kept == (0.4,)
    assert "the theory's 0.5 is outside" in text
    assert "exponent 0.4 gains 0.20 points (95% 0.05 to 0.50) over the theory, for 120 epochs and 90 s" in text
    assert "interval does not allow for the choice of the best trial, and may promise too much" in text
    assert "the choice" not in conclude(SPACE, estimate(chosen=0.5), "error", 1, 120.0, 90.0)[1]
    assert "With one seed per trial" in text


def test_an_interval_that_ends_at_the_bound_of_the_search_is_not_the_datas():
    _, text = conclude(SPACE, estimate(low=0.0), "error", 3, 1.0, 1.0)
    assert "ends at the bound of the search, 0, rather than where the data end it" in text


def test_nothing_is_concluded_from_too_few_trials():
    assert conclude(SPACE, None, "error", 1, 1.0, 1.0)[0] == (0.5,)


def test_the_gain_in_pairs_allows_for_the_choice():
    """Three trials of two seeds, in logarithms. Theory 0, .2; others -.1, .1 and .3, .45.

    Means .1, 0, .375; the residuals of trial + seed are -+.00833, -+.00833 and +-.01667: squares sum to .000833, over 2
    degrees of freedom .000417, which is also the variance of a difference of means of two seeds: deviation .0204.
    Bonferroni's of two comparisons: t(.9875, 2) = 6.2053. So .1 -+ .1267, in percent 9.52, -2.70 to 20.28.
    """
    theory, chosen, other = (0.0, 0.2), (-0.1, 0.1), (0.3, 0.45)
    found = paired_gain(theory, chosen, [theory, chosen, other])
    assert (found.gain_percent, found.low_percent, found.high_percent) == pytest.approx(
        (9.516, -2.705, 20.28), abs=0.01
    )
    assert (found.seeds, found.others) == (2, 2)
    assert paired_gain(theory, theory, [theory, chosen, other]) is None
    assert paired_gain((0.0,), (0.1,), [(0.0,), (0.1,)]) is None


def test_what_broke_down_is_said_and_a_theory_that_did_is_not_kept():
    bounded = replace(estimate(high=0.7), breaks_down=0.85)
    assert (
        "Training breaks down at 0.85, so the best exponent is below that."
        in conclude(SPACE, bounded, "error", 3, 1, 1)[1]
    )
    beaten = replace(estimate(high=0.45), breaks_down=0.5, gain=math.inf, gain_low=math.inf, gain_high=math.inf)
    kept, text = conclude(SPACE, beaten, "error", 3, 120.0, 90.0)
    assert kept == (0.4,)
    assert "The theory's 0.5 breaks down too: exponent 0.4 is used instead" in text
    assert "inf" not in text


def test_an_interval_of_the_whole_search_says_that_any_exponent_may_be_the_best():
    kept, text = conclude(SPACE, estimate(low=0.0, high=1.0), "error", 3, 1.0, 1.0)
    assert kept == (0.5,)
    assert "The interval covers the whole search range: within the noise, any exponent may be the best." in text


def test_what_the_seeds_have_in_common_is_no_noise():
    """Rows that differ by a constant leave no residual; +-1 crosswise leave 4 in one degree of freedom."""
    assert noise_of_means([(1.0, 3.0), (2.0, 4.0), (7.0, 9.0)]) == pytest.approx(0)
    assert noise_of_means([(1.0, -1.0), (-1.0, 1.0)]) == pytest.approx(math.sqrt(4 / 2))
    assert noise_of_means([(1.0,), (2.0,)]) is None


def test_a_tenth_is_held_out_and_the_schedule_keeps_its_updates(digits):
    held = with_validation(digits)
    assert (held.data.train_examples, held.data.validation_examples) == (1167, 130)
    assert held.schedule.updates == in_updates(digits).schedule.updates == 405
    assert with_validation(held) is held
    assert recipe_hash(held) != recipe_hash(digits)


def test_more_held_out_than_there_are_is_an_error_at_its_place():
    with pytest.raises(RecipeError, match=r"validation_examples.*must be at most 0, what train_examples leaves"):
        load_recipe(DIGITS, ["data.validation_examples=100"])
    held = load_recipe(DIGITS, ["data.validation_examples=100", "data.train_examples=1197"])
    assert held.data.validation_examples == 100


def test_a_point_of_the_exponent_is_the_plan_of_that_rule(digits):
    """32 to 512: r = 16, 0.05 * 16^0.25 = 0.1; the clipping norm is 5 over the factor."""
    request = Request(512, PARTS)
    space = search_space(digits, request)
    recipe = plan_at(digits, request, space, (0.25,)).adapted
    assert recipe.optimizer.lr == pytest.approx(0.1)
    assert recipe.clipping.max_norm == pytest.approx(2.5)
    assert recipe.adapted_from.lr_rule == "exponent=0.25"
    assert [rule_of_exponent(a).name for a in (0.5, 1.0, 0.0)] == ["sqrt", "linear", "none"]
    assert search_space(digits, request).theory == (0.5,)


def test_the_other_parts_are_searched_about_the_theorys_values(digits):
    """Stretch 4 of 16: a quarter of 405, 203 and 304 updates; ghosts of 64; the clipping norm 5/4 doubled."""
    request = Request(512, PARTS)
    space = search_space(digits, request, also=("stretch", "ghost", "clip"))
    assert space.theory == (0.5, 16.0, 32.0, 1.0)
    plan = plan_at(digits, request, space, (0.5, 4.0, 64.0, 2.0))
    recipe = plan.adapted
    assert recipe.schedule.updates == 101
    assert [m.update for m in recipe.schedule.milestones] == [51, 76]
    assert recipe.batch_norm.ghost_batch_size == 64
    assert recipe.clipping.max_norm == pytest.approx(2.5)
    lines = {line.field: line for line in plan.adjustments}
    assert (lines["schedule.updates"].after, lines["schedule.updates"].rule) == (101, "refined")
    assert (
        plan_at(digits, request, space, space.theory).adapted
        == plan_at(digits, request, search_space(digits, request), (0.5,)).adapted
    )


def test_what_is_tried_is_coarse_enough_to_be_told_apart():
    assert Dimension("exponent", 0.0, 1.0, 0.5).snapped(0.3712) == 0.37
    assert Dimension("ghost", 8.0, 256.0, 32.0).snapped(100) == 128
    assert Dimension("stretch", 1.0, 16.0, 16.0).snapped(3.14159) == 3.14
    assert Dimension("clip", 0.25, 4.0, 1.0).snapped(3.9999) == 4.0


@pytest.mark.parametrize(
    ("parts", "low", "high", "also", "said"),
    [
        (PARTS, 0.6, 1.0, (), "that contains 0.5"),
        (PARTS, 0.0, 3.0, (), "within -2 to 2"),
        (("ghost",), 0.0, 1.0, (), "must include lr"),
        (PARTS, 0.0, 1.0, ("gohst",), "choose from stretch, ghost, clip"),
        (("lr",), 0.0, 1.0, ("ghost",), "needs ghost batches"),
        (("lr",), 0.0, 1.0, ("clip",), "needs clipping"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(digits, parts, low, high, also, said):
    with pytest.raises(UsageError, match=said):
        search_space(digits, Request(512, parts), low, high, also)
