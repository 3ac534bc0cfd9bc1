"""The noise scale of many readings: right on average, and its interval covers what is known."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from lbadvisor.diagnostics.noise_estimate import GradientMoments, noise_scale, noise_scale_of
from lbadvisor.nn.two_batches import two_batch_moments

FEATURES, BATCH = 50, 32
VARIANCES = 1 / np.arange(1, FEATURES + 1)
KNOWN = VARIANCES.sum() / 0.05


def readings(draws, count, size=BATCH):
    """A linear model, whose gradient has a known mean (|g|^2 = 0.05) and covariance, read as two batches of `size`."""
    halves = draws.normal(np.sqrt(0.05 / FEATURES), np.sqrt(VARIANCES / size), (count, 2, FEATURES))
    of_small, of_big = np.square(halves).sum(2).mean(1), np.square(halves.mean(1)).sum(1)
    return [two_batch_moments(*pair, 1 / size, 1 / (2 * size)) for pair in zip(of_small, of_big, strict=True)]


@pytest.mark.parametrize("count", [8, 20, 100])
def test_the_interval_covers_the_known_noise_scale_in_at_least_90_of_100_draws(count):
    """Also from few readings, when it must often leave the end above open: a bootstrap covered 70 of 100 there."""
    draws = np.random.default_rng(count)
    found = [noise_scale(*zip(*readings(draws, count), strict=True)) for _ in range(100)]
    assert sum(one.low <= KNOWN <= one.high for one in found) >= 90
    if count == 100:
        assert all(math.isfinite(one.high) for one in found)
        assert np.median([one.high / one.low for one in found]) < 2.5


def test_the_estimate_is_within_10_percent_of_the_known_noise_scale():
    found = noise_scale(*zip(*readings(np.random.default_rng(0), 2000), strict=True))
    assert found.examples == pytest.approx(KNOWN, rel=0.1)
    assert found.low < KNOWN < found.high < 1.2 * found.low


def test_the_interval_holds_what_a_t_test_does_not_exclude():
    """Fieller's theorem: B is inside unless the mean of tr S - B |g|^2 differs from 0 at 5%."""
    squares, variances = zip(*readings(np.random.default_rng(3), 30), strict=True)
    found = noise_scale(squares, variances)
    for end, inside in ((found.low, 1.001), (found.high, 0.999)):
        for examples, expected in ((end * inside, True), (end / inside, False)):
            test = ttest_1samp(np.array(variances) - examples * np.array(squares), 0)
            assert (test.pvalue > 0.05) == expected


@pytest.mark.parametrize(
    ("squares", "variances", "expected"),
    [
        ([2.0, 2.0], [6.0, 6.0], (3.0, 3.0, 3.0)),  # no noise in it: exact
        ([2.0], [6.0], (3.0, None, None)),  # of one pair the interval is unknown
        # |g|^2 cannot be told from 0: open above; 4.30265 is t of 2 degrees of freedom, 0.57735 is 1/sqrt(3).
        ([-1.0, 1.0, 0.0], [6.0, 6.0, 6.0], (math.inf, 6 / (4.30265 * 0.57735), math.inf)),
        ([1.0, -1.0, 1.0], [6.0, -6.0, 5.0], (5.0, 0.0, math.inf)),  # neither can tr S: anything
    ],
)
def test_what_the_data_leave_open_is_open(squares, variances, expected):
    found = noise_scale(squares, variances)
    assert (found.examples, found.low, found.high) == tuple(
        None if value is None else pytest.approx(value, rel=1e-4) for value in expected
    )


def test_moments_of_several_seeds_are_pooled():
    moments = [GradientMoments(0, 10, 1.0, 10.0), GradientMoments(1, 10, 3.0, 10.0), GradientMoments(1, 20, 2.0, 4.0)]
    assert noise_scale_of(moments).examples == pytest.approx(24 / 6)
