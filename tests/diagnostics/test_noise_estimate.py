"""The noise scale of many readings: right on average, and its interval covers what is known."""

import math

import numpy as np
import pytest
from scipy.stats import t

from lbadvisor.diagnostics.noise.noise_estimate import GradientMoments, noise_scale, noise_scale_of
from lbadvisor.nn.two_batches import two_batch_moments

FEATURES, BATCH = 50, 32
VARIANCES = 1 / np.arange(1, FEATURES + 1)
KNOWN = VARIANCES.sum() / 0.05


def readings(draws, means, noises, size=BATCH):
    """A linear model, whose gradient has a known mean and covariance, read as two batches of `size`.

    At each reading |g|^2 is 0.05 times one of `means`, and the covariance is scaled by one of `noises`.
    """
    mean_R11, noise_R11 = (np.reshape(values, (-1, 1, 1)) for values in (means, noises))
    scale = np.sqrt(VARIANCES * noise_R11 / size)
    halves = draws.normal(np.sqrt(0.05 * mean_R11 / FEATURES), scale, (len(means), 2, FEATURES))
    of_small, of_big = np.square(halves).sum(2).mean(1), np.square(halves.mean(1)).sum(1)
    found = [two_batch_moments(*pair, 1 / size, 1 / (2 * size)) for pair in zip(of_small, of_big, strict=True)]
    return np.array(found).T


@pytest.mark.parametrize("count", [8, 20, 100])
def test_the_interval_covers_the_known_noise_scale_in_at_least_90_of_100_draws(count):
    """Also from few readings, when it must often leave the end above open: a bootstrap covered 70 of 100 there."""
    draws = np.random.default_rng(count)
    found = [noise_scale(*readings(draws, np.ones(count), np.ones(count))) for _ in range(100)]
    assert sum(one.low <= KNOWN <= one.high for one in found) >= 90
    if count == 100:
        assert all(math.isfinite(one.high) for one in found)
        assert np.median([one.high / one.low for one in found]) < 2.5


def test_the_estimate_is_within_10_percent_of_the_known_noise_scale():
    found = noise_scale(*readings(np.random.default_rng(0), np.ones(2000), np.ones(2000)))
    assert found.examples == pytest.approx(KNOWN, rel=0.1)
    assert found.low < KNOWN < found.high < 1.2 * found.low


def test_a_trend_along_the_training_does_not_widen_the_interval():
    """Both moments fall, one hundredfold and one tenfold; the known value is the ratio of their means."""
    draws, means, noises = np.random.default_rng(1), np.geomspace(1, 0.01, 40), np.geomspace(1, 0.1, 40)
    known, covered, widths = KNOWN * noises.mean() / means.mean(), 0, []
    for _ in range(100):
        squares, variances = readings(draws, means, noises, size=512)
        found = noise_scale(squares, variances)
        order = draws.permutation(40)
        shuffled = noise_scale(squares[order], variances[order])
        covered += found.low <= known <= found.high
        widths.append((found.high / found.low, shuffled.high / shuffled.low))
    assert covered >= 90
    with_order, without = np.median(widths, axis=0)
    assert with_order - 1 < 0.8 * (without - 1)


def test_the_interval_holds_what_a_test_of_the_mean_does_not_exclude():
    """Fieller's theorem: B is inside unless the mean of tr S - B |g|^2 differs from 0 at 5%."""
    squares, variances = readings(np.random.default_rng(3), np.ones(30), np.ones(30))
    found = noise_scale(squares, variances)
    for end, inside in ((found.low, 1.001), (found.high, 0.999)):
        for examples, expected in ((end * inside, True), (end / inside, False)):
            z = variances - examples * squares
            error = np.sqrt(np.square(np.diff(z)).mean() / 2 / 30)
            assert (abs(z.mean()) / error < t.ppf(0.975, 2 * 29**2 / 86)) == expected


@pytest.mark.parametrize(
    ("squares", "variances", "expected"),
    [
        ([2.0, 2.0], [6.0, 6.0], (3.0, 3.0, 3.0)),  # no noise in it: exact
        ([2.0], [6.0], (3.0, None, None)),  # of one pair the interval is unknown
        # |g|^2 cannot be told from 0: open above. Its differences are 2 and -1, so its mean has the variance 5/4/3.
        ([-1.0, 1.0, 0.0], [6.0, 6.0, 6.0], (math.inf, 6 / (t.ppf(0.975, 8 / 5) * math.sqrt(5 / 12)), math.inf)),
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
