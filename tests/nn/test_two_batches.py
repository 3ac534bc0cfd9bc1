"""The moments of a gradient from batches of two sizes: unbiased, against what is known."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch

from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
from lbadvisor.nn.two_batches import two_batch_moments, untracked, variance_factor

SMALL, BIG, DRAWS = 16, 64, 20_000
MEAN = np.full(6, 1.062387)  # |g|^2 = 6.772
VARIANCES = 72.48 * np.array([6, 5, 4, 3, 2, 1]) / 21  # tr S = 72.48


def test_the_estimates_are_unbiased_and_a_mean_of_ratios_is_not():
    """A linear loss, whose gradients have a known mean and covariance: |g|^2 6.772, tr S 72.48, so B_n = 10.70."""
    draws = np.random.default_rng(0)
    small_Kd = draws.normal(MEAN, np.sqrt(VARIANCES / SMALL), (DRAWS * (BIG // SMALL), 6))
    big_d = small_Kd.reshape(DRAWS, BIG // SMALL, 6).mean(1)
    of_small = np.square(small_Kd).sum(1).reshape(DRAWS, -1).mean(1)
    found = [
        two_batch_moments(small, big, 1 / SMALL, 1 / BIG)
        for small, big in zip(of_small, np.square(big_d).sum(1), strict=True)
    ]
    squared_means, variances = np.array(found).T
    assert squared_means.mean() == pytest.approx(6.772, rel=0.01)
    assert variances.mean() == pytest.approx(72.48, rel=0.01)
    assert variances.mean() / squared_means.mean() == pytest.approx(10.70, rel=0.015)
    assert (variances / squared_means).mean() > 1.03 * 10.70


def test_batches_that_share_examples_and_a_finite_set_are_allowed_for():
    """Every small batch of 2 and every large one of 3 out of 5 numbers: both estimates are exact on average."""
    numbers = [Fraction(n) for n in (1, 2, 4, 8, 11)]

    def mean_square(size):
        chosen = list(itertools.combinations(numbers, size))
        return sum((sum(c) / size) ** 2 for c in chosen) / len(chosen)

    mean = sum(numbers) / 5
    variance = sum((n - mean) ** 2 for n in numbers) / 4
    v_small, v_big = (Fraction(1, size) - Fraction(1, 5) for size in (2, 3))
    assert two_batch_moments(mean_square(2), mean_square(3), v_small, v_big) == (mean**2, variance)


@pytest.mark.parametrize(
    ("first", "size", "examples", "expected"),
    [
        (0, 10, 100, 1 / 10 - 1 / 100),  # within an epoch
        (90, 10, 100, 1 / 10 - 1 / 100),  # up to its end
        (95, 10, 100, 1 / 10 - (25 + 25) / (100 * 100)),  # half of it in the next
        (0, 100, 100, 0.0),  # a whole epoch
        (100, 200, 100, 0.0),  # two
        (50, 200, 100, (2 * 50**2 * (1 / 50 - 1 / 100)) / 200**2),  # two halves around a whole one
    ],
)
def test_the_variance_of_a_batch_counts_each_epoch_without_replacement(first, size, examples, expected):
    assert variance_factor(first, size, examples) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("running_statistics", ["sequential", "mean-biased"])
def test_untracked_batch_norm_computes_the_same_and_keeps_its_statistics(running_statistics):
    layer = torch.nn.Sequential(GhostBatchNorm(3, 4, running_statistics=running_statistics), torch.nn.BatchNorm1d(3))
    x = torch.randn(12, 3)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with untracked(layer):
        without = layer(x)
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())
    assert torch.equal(layer(x), without)
    assert int(layer[1].num_batches_tracked) == 1
