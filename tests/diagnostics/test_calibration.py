"""Weight distances of a noisy quadratic, worked by hand: 0.5 where noise rules, 0 where drift does, and between."""

import math

import numpy as np
import pytest

from lbadvisor.diagnostics.calibration.calibration import (
    DistanceCurve,
    Exponent,
    Window,
    calibrated_windows,
    check_exponents,
    concluded,
    default_updates,
    matched_exponent,
    noise_exponent,
    over_seeds,
    windows_of,
)
from lbadvisor.diagnostics.noise.noise_estimate import GradientMoments
from lbadvisor.errors import UsageError
from lbadvisor.planning.noise_scale import NoiseScale

BATCH, TARGET, LR, H = 32, 1024, 0.01, 0.01
EXPONENTS = (-0.1, 0.25, 0.6)
WINDOWS = (5, 10, 20, 40, 80)
WEIGHTS = 20_000
NO_SCALE = NoiseScale(math.inf)


def distances(start, variance, batch, lr, seed):
    """SGD on H/2 th^2 in each of many weights, gradient noise of `variance`/batch: ||w_t - w_0|| at the windows."""
    draws = np.random.default_rng(seed)
    weights, found = np.full(WEIGHTS, start), []
    for update in range(1, WINDOWS[-1] + 1):
        noise = math.sqrt(variance / batch) * draws.standard_normal(WEIGHTS)
        weights = weights - lr * (H * weights + noise)
        if update in WINDOWS:
            found.append(float(np.linalg.norm(weights - start)))
    return tuple(found)


def matched(start, variance):
    """For each window the exponent, over three seeds."""
    curves, moments = [], []
    for seed in range(3):
        curves.append(DistanceCurve(None, seed, distances(start, variance, BATCH, LR, seed)))
        for a in EXPONENTS:
            lr = LR * (TARGET / BATCH) ** a
            curves.append(DistanceCurve(a, seed, distances(start, variance, TARGET, lr, 100 + seed)))
        moments += [GradientMoments(seed, w, WEIGHTS * (H * start) ** 2, WEIGHTS * variance) for w in WINDOWS]
    return calibrated_windows(WINDOWS, curves, moments, BATCH, TARGET)


def test_where_noise_rules_the_exponent_is_one_half_in_every_window():
    """From the minimum, lr H t = 0.008 at most: a random walk, E d^2 = t lr^2 s^2/B, so that r^2a = r."""
    for window in matched(0.0, 1.0):
        assert window.matched.value == pytest.approx(0.5, abs=0.05)
        assert window.matched.low <= 0.5 + 0.05
        assert window.one_update.value == pytest.approx(0.5)


def test_where_drift_rules_it_is_zero():
    """Without noise d = lr t H th: in proportion to lr, whatever the batch."""
    for window in matched(1.0, 1e-9):
        assert window.matched.value == pytest.approx(0.0, abs=0.01)
        assert window.coherent.value == pytest.approx(0.0, abs=0.01)


def test_between_them_it_is_as_worked_by_hand_and_falls_as_the_same_drift_adds_up():
    """d^2 = lr^2 (t^2 g^2 + t s^2/B) with g = H th = 0.02, s = 1: at t = 5 and B = 32, 25 * .0004 + 5/32 = .16625.

    For the target .01 + 5/1024 = .014883; ln(.16625/.014883)/(2 ln 32) = .3482. At t = 80: 2.56 + 2.5 = 5.06 and
    2.56 + .078125 = 2.638125, .0940. For one update: .0004 + .03125 and .0004 + .000977: .4524.
    """
    windows = matched(2.0, 1.0)
    assert windows[0].matched.value == pytest.approx(0.3482, abs=0.02)
    assert windows[-1].matched.value == pytest.approx(0.0940, abs=0.02)
    assert windows[0].coherent.value == pytest.approx(0.3482, abs=1e-4)
    assert windows[-1].coherent.value == pytest.approx(0.0940, abs=1e-4)
    assert windows[-1].one_update.value == pytest.approx(0.4524, abs=1e-4)
    assert windows[0].drift_share == pytest.approx(0.0004 / 0.03165, rel=1e-3)
    assert windows[0].noise_scale.examples == pytest.approx(2500, rel=1e-3)  # s^2/g^2 = 1/.0004


def test_the_logarithm_of_the_distance_is_linear_between_neighbours():
    assert matched_exponent(2.0, [(0.0, 1.0), (0.5, 4.0), (1.0, 100.0)]) == pytest.approx(0.25)
    assert matched_exponent(20.0, [(1.0, 100.0), (0.0, 1.0), (0.5, 4.0)]) == pytest.approx(0.75)
    assert matched_exponent(0.5, [(0.0, 1.0), (0.5, 4.0)]) == -math.inf
    assert matched_exponent(5.0, [(0.0, 1.0), (0.5, 4.0)]) == math.inf
    assert matched_exponent(2.0, [(0.0, 1.0), (0.5, math.nan)]) is None
    assert matched_exponent(math.nan, [(0.0, 1.0), (0.5, 4.0)]) is None


def test_over_seeds_are_a_mean_and_students_interval():
    """.3, .4, .5: mean .4, deviation .1, t(.975, 2) = 4.3027: half width .1 * 4.3027/sqrt(3) = .2484."""
    found = over_seeds([0.3, 0.4, 0.5])
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0.1516, 0.6484), abs=1e-4)
    assert over_seeds([0.3]).low is None
    assert (over_seeds([0.3, math.inf]).value, over_seeds([0.3, math.inf]).outside) == (None, "above")
    assert over_seeds([0.3, None]).value is None


def test_a_gradient_that_is_all_noise_predicts_one_half_and_one_below_nothing_predicts_nothing():
    assert noise_exponent(0.0, 1.0, 32, 1024) == pytest.approx(0.5)
    assert noise_exponent(1.0, 0.0, 32, 1024) == 0
    assert noise_exponent(-1.0, 1.0, 32, 1024) is None


def test_windows_are_halves_down_to_five_and_the_default_length_is_a_share_of_the_training():
    """F1: 18 750 updates of 4096, at three exponents with one seed: 5% are 309; with three seeds 103."""
    assert windows_of(320) == (5, 10, 20, 40, 80, 160, 320)
    assert windows_of(7) == (7,)
    assert default_updates(18_750, 3, 1, 32) == 309
    assert default_updates(18_750, 3, 3, 32) == 103
    assert default_updates(405, 3, 1, 32) == 20
    assert default_updates(10**6, 3, 1, 32) == 320


@pytest.mark.parametrize("exponents", [(0.5,), (0.5, 0.5), (0.5, 3.0), (0.5, math.nan)])
def test_exponents_that_match_nothing_are_refused(exponents):
    with pytest.raises(UsageError, match="give at least two different ones"):
        check_exponents(exponents)


def test_the_sentence_says_that_drift_has_its_part():
    text = concluded(matched(2.0, 1.0), EXPONENTS, 3)
    assert "At 0.5 they move farther, because the square-root rule assumes no drift" in text
    text = concluded(matched(0.0, 1.0), EXPONENTS, 3)
    assert "agrees with the square-root rule (0.5) and excludes the others" in text


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.39, 0.89, "not exclude an unscaled learning rate (0) or the square-root rule (0.5)"),
        (0.4, 1.2, "not exclude the square-root rule (0.5) or the linear rule (1)"),
        (0.42, 0.6, "agrees with the square-root rule (0.5) and excludes the others"),
        (0.2, 0.3, "At 0.5 they move farther"),
        (-0.03, 0.1, "agrees with an unscaled learning rate (0) and excludes the others. At 0.5 they move farther"),
        (0.6, 0.8, "At 0.5 they move less far"),
    ],
)
def test_a_rule_is_confirmed_only_by_an_interval_that_excludes_the_others(low, high, said):
    exponent = Exponent((low + high) / 2, low, high)
    window = Window(80, exponent, Exponent(None, None, None), Exponent(None, None, None), None, NO_SCALE)
    text = concluded([window], EXPONENTS, 3)
    assert said in text
    assert ("agrees" in text) == ("agrees" in said)


def test_one_seed_confirms_nothing():
    window = Window(
        80, Exponent(0.5, None, None), Exponent(None, None, None), Exponent(None, None, None), None, NO_SCALE
    )
    text = concluded([window], EXPONENTS, 1)
    assert "agrees" not in text
    assert "no rule is confirmed or excluded" in text
