"""The surge of Adam's best learning rate: by hand, and against the steps that it is derived for."""

import math

import pytest

from lbadvisor.planning.noise_scale import surge_factor


def test_adams_best_learning_rate_peaks_at_the_noise_scale_and_is_symmetric_about_it():
    """On a logarithmic axis: B and B_n^2/B. By hand at B = 4 B_n: 2/(1/2 + 2) = 0.8."""
    assert surge_factor(1000, 1000) == 1
    assert surge_factor(4000, 1000) == pytest.approx(0.8)
    for batch_size in (1, 30, 250, 999):
        assert surge_factor(batch_size, 1000) == pytest.approx(surge_factor(1000**2 / batch_size, 1000))
        assert surge_factor(batch_size, 1000) < surge_factor(batch_size + 1, 1000) <= 1


def test_adams_best_learning_rate_grows_as_the_square_root_far_below_the_noise_scale():
    slope = math.log(surge_factor(2, 1e6) / surge_factor(1, 1e6)) / math.log(2)
    assert slope == pytest.approx(0.5, abs=1e-5)
    assert surge_factor(64, math.inf) == 0


def test_the_surge_is_that_of_the_best_step_along_the_sign():
    """A step lr along the sign, which is right by E = k sqrt(B), gains lr p E - lr^2 (a + b E^2)/2; B_n = a/(b k^2)."""
    p, k, a, b = 3.0, 0.05, 2.0, 0.4

    def best_lr(batch_size):
        expected = k * math.sqrt(batch_size)
        gains = {
            lr: lr * p * expected - lr**2 * (a + b * expected**2) / 2 for lr in (i / 10_000 for i in range(20_000))
        }
        return max(gains, key=lambda lr: gains[lr])

    peak = a / (b * k**2)
    for batch_size in (20, 500, 2000, 32_000):
        assert best_lr(batch_size) / best_lr(peak) == pytest.approx(surge_factor(batch_size, peak), abs=2e-4)
