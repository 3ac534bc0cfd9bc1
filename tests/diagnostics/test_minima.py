"""What is said of arms whose sharpness and accuracy are known."""

import math

import pytest

from lbadvisor.diagnostics.landscape.minima import Minimum, diagnosis_of_minima, minima_of

BOTH = "the sharper one by both measures, as Keskar et al. 2017 say"


def minimum(arm, seed, accuracy, sharpness, eigenvalue, **changed):
    made = {
        "run": f"{arm}-s{seed}",
        "arm": arm,
        "seed": seed,
        "batch_size": 128,
        "update": 1000,
        "averaged": False,
        "normalized_over": 128,
        "loss": 0.01,
        "sharpness_percent": sharpness,
        "largest_eigenvalue": eigenvalue,
        "final_lr": 0.001,
        "largest_lr": 0.1,
        "stable_lr": 2 / eigenvalue if eigenvalue > 0 else None,
        "accuracy_percent": accuracy,
    }
    return Minimum(**(made | changed))


def arms(sharpness, eigenvalue, **changed):
    """SB, and LB a point less accurate on average, so many times as sharp, over three seeds."""
    sb = [minimum("SB", seed, 98 + 0.1 * seed, 1.0 + seed, 10.0 + seed) for seed in range(3)]
    lb = [
        minimum(
            "LB",
            m.seed,
            97 + 0.2 * m.seed,
            m.sharpness_percent * sharpness * 1.1**s,
            m.largest_eigenvalue * eigenvalue * 1.1**s,
            **changed,
        )
        for m, s in zip(sb, (-1, 0, 1), strict=True)
    ]
    return minima_of(1000, 1e-3, [*sb, *lb])


def said(found):
    return diagnosis_of_minima(found).conclusion


def test_ratios_and_points_are_paired_by_seed():
    """Points 1, .9, .8: mean .9, deviation .1, t(.975, 2) = 4.3027: half width .1 * 4.3027/sqrt(3) = .2484.

    Ratios 2/1.1, 2, 2 * 1.1: of their logarithms the deviation is ln 1.1, half width 4.3027 ln 1.1/sqrt(3) = .2368.
    """
    contrast = arms(2.0, 3.0).contrast
    assert (contrast.worse, contrast.better) == ("LB", "SB")
    points = contrast.points
    assert (points.value, points.low, points.high) == pytest.approx((0.9, 0.6516, 1.1484), abs=1e-4)
    ratio = contrast.sharpness
    half = 4.30265 * math.log(1.1) / math.sqrt(3)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2, 2 * math.exp(-half), 2 * math.exp(half)), rel=1e-5)
    assert contrast.eigenvalue.value == pytest.approx(3)


def test_the_interval_of_points_allows_for_the_choice_among_the_arms():
    """With a third arm between them LB is the worst of three pairs: t at 1 - .05/6 is 7.649, not 4.303."""
    found = arms(2.0, 3.0)
    between = [minimum("+LR", seed, 97.6 + 0.1 * seed, 1.0, 10.0) for seed in range(3)]
    points = minima_of(1000, 1e-3, [*found.minima, *between]).contrast.points
    half = 0.1 * 7.64889 / math.sqrt(3)
    assert (points.value, points.low, points.high) == pytest.approx((0.9, 0.9 - half, 0.9 + half), abs=1e-4)


@pytest.mark.parametrize(
    ("sharpness", "eigenvalue", "verdict"),
    [
        (2.0, 3.0, BOTH),
        (2.0, 1.0, "the sharper one by one measure, but not by the other"),
        (2.0, 0.3, "the sharper one by one measure, but not by the other"),
        (1.1, 1.0, "neither measure tells the two arms apart"),
        (0.5, 1.0, "the flatter one: sharpness does not explain this gap"),
        (0.5, 0.5, "the flatter one: sharpness does not explain this gap"),
    ],
)
def test_the_verdict_is_what_both_intervals_allow(sharpness, eigenvalue, verdict):
    assert verdict in said(arms(sharpness, eigenvalue))


def test_without_a_difference_of_accuracy_or_a_second_seed_nothing_is_concluded():
    alike = [
        minimum(arm, seed, 98 + noise - 0.1 * k, 1.0 * k, 10.0 * k)
        for arm, k in (("SB", 1), ("LB", 5))
        for seed, noise in ((0, -k), (1, k))
    ]
    assert "do not differ beyond chance" in said(minima_of(1000, 1e-3, alike))
    single = [minimum("SB", 0, 98, 1.0, 10.0), minimum("LB", 0, 97, 5.0, 50.0)]
    assert "One seed gives no interval" in said(minima_of(1000, 1e-3, single))
    assert "LB is the least accurate arm, 1.00 points below SB. It is 5.00 times as sharp" in said(
        minima_of(1000, 1e-3, single)
    )


ANOTHER_SEED = minimum("LB", 7, 97, 5.0, 50.0)
UNKNOWN = minimum("LB", 0, None, 5.0, 50.0)


@pytest.mark.parametrize("others", [[], [ANOTHER_SEED], [UNKNOWN], [ANOTHER_SEED, UNKNOWN]])
def test_arms_without_a_common_seed_or_an_accuracy_are_not_compared(others):
    found = minima_of(1000, 1e-3, [minimum("SB", 0, 98, 1.0, 10.0), *others])
    assert found.contrast is None
    assert "There is no second arm with an accuracy and the same seeds" in said(found)
    assert "SB: Keskar's sharpness is 1%, the Hessian's largest eigenvalue 10." in said(found)


def test_arms_of_different_training_losses_are_said_not_to_be_of_one_depth():
    assert "of one depth" not in said(arms(2.0, 3.0))
    assert "Their training losses differ, 0.5 and 0.01, and" in said(arms(2.0, 3.0, loss=0.5))


def test_a_rate_beyond_stability_is_said_with_its_arm_and_how_far():
    """LB: 2/30 is stable, and .1 is 1.5 times that; .001 is nowhere near."""
    found = minima_of(1000, 1e-3, [minimum("SB", 0, 98, 1.0, 10.0), minimum("LB", 0, 97, 1.0, 30.0)])
    assert "The final learning rate is at most 0.015 times the largest that is stable at these weights." in said(found)
    assert (
        "The highest learning rate is above the largest that is stable at these weights in 1 of 2 runs (LB), up to 1.5"
        in said(found)
    )
    adaptive = minima_of(1000, 1e-3, [minimum("SB", 0, 98, 1.0, 10.0, stable_lr=None)])
    assert "learning rate" not in said(adaptive)


def test_a_measure_that_is_not_above_0_has_no_ratio_and_no_logarithmic_axis():
    found = minima_of(1000, 1e-3, [minimum("SB", 0, 98, 0.0, 10.0), minimum("LB", 0, 97, 1.0, 30.0)])
    assert "not comparable by Keskar's measure" in said(found)
    assert [graph.logarithmic_x for graph in diagnosis_of_minima(found).graphs] == [False, True]
