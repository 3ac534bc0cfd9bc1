"""The covariance law and its rules on a linear regression, and the intervals on gradients of a known covariance."""

import math

import pytest
import torch
from torch import Tensor

from lbadvisor.comparison.intervals import mean_of, ratio_of
from lbadvisor.diagnostics.calibration.calibration import noise_exponent
from lbadvisor.diagnostics.covariance.covariance import Gradients, Variant, point_of, powers, similarity, squared_means
from lbadvisor.planning.rules import FINITE_POPULATION, LINEAR, SQRT, lr_factor, noise_variance
from lbadvisor.training.data.order import batch_indices

N, SIZES, DRAWS = 2000, (16, 64, 256, 1024), 6000


@pytest.fixture(scope="module")
def each_ND() -> Tensor:
    """Every example's gradient of a linear regression's squared error, away from its minimum: N = 2000, D = 6."""
    draws = torch.Generator().manual_seed(0)
    inputs_ND = torch.randn(N, 6, generator=draws, dtype=torch.float64)
    targets_N = inputs_ND @ torch.arange(1.0, 7.0, dtype=torch.float64) / 4
    targets_N += torch.randn(N, generator=draws, dtype=torch.float64)
    return 2 * (inputs_ND.sum(1) * 0.3 - targets_N)[:, None] * inputs_ND


@pytest.fixture(scope="module")
def without_replacement(each_ND) -> dict[int, Tensor]:
    """By size, the mean gradients of batches as training draws them: the first of an epoch, of many seeds."""
    found: dict[int, list[Tensor]] = {size: [] for size in SIZES}
    for seed in range(DRAWS):
        for size in SIZES:
            found[size].append(each_ND.index_select(0, batch_indices(seed, 0, size, N)).mean(0))
    return {size: torch.stack(rows) for size, rows in found.items()}


@pytest.fixture(scope="module")
def with_replacement(each_ND) -> dict[int, Tensor]:
    draws = torch.Generator().manual_seed(1)
    return {
        size: torch.stack(
            [each_ND[torch.randint(N, (size,), generator=draws)].mean(0) for _ in range(DRAWS)],
        )
        for size in SIZES
    }


@pytest.mark.parametrize("size", SIZES)
def test_the_covariance_is_the_examples_over_the_batch_size(each_ND, without_replacement, with_replacement, size):
    """Its trace: tr S/M with replacement, times (N - M)/(N - 1) without, which is 0.49 of it at 1024 of 2000."""
    one = float(each_ND.var(0, correction=0).sum())
    assert mean_of(powers(with_replacement[size])).value == pytest.approx(
        noise_variance(size, None, None) * one, rel=0.03
    )
    drawn = mean_of(powers(without_replacement[size])).value
    assert drawn == pytest.approx(noise_variance(size, N, None) * one, rel=0.03)
    if size == 1024:
        assert drawn / (noise_variance(size, None, None) * one) == pytest.approx(0.488, abs=0.02)


@pytest.mark.parametrize("size", SIZES[1:])
def test_the_square_root_matches_the_covariance_and_the_linear_rule_does_not(with_replacement, size):
    """Within 3% against r = 4, 16 and 64 times."""
    found = ratio_of(powers(with_replacement[size]), powers(with_replacement[16]))
    assert found.times(lr_factor(SQRT, 16, size, None) ** 2).value == pytest.approx(1, abs=0.03)
    assert found.times(lr_factor(LINEAR, 16, size, None) ** 2).value == pytest.approx(size / 16, rel=0.03)


@pytest.mark.parametrize("size", SIZES[1:])
def test_without_replacement_the_finite_population_form_matches_at_any_batch_size(without_replacement, size):
    found = ratio_of(powers(without_replacement[size]), powers(without_replacement[16]))
    assert found.times(lr_factor(FINITE_POPULATION, 16, size, N) ** 2).value == pytest.approx(1, abs=0.03)
    expected = (N - size) / (N - 16)
    assert found.times(lr_factor(SQRT, 16, size, N) ** 2).value == pytest.approx(expected, rel=0.03)


def test_the_matrices_are_the_same_but_for_a_factor(without_replacement):
    """Not only their traces: within a few percent, at 64 times the batch size."""
    alike = similarity(without_replacement[1024][:300], without_replacement[16][:300])
    assert alike.value == pytest.approx(1, abs=0.05)
    assert alike.low < 1 < alike.high + 0.02


SCALES = torch.tensor([3.0, 2.0, 2.0, 1.0, 1.0, *[0.5] * 10], dtype=torch.float64)
MEAN = torch.full((15,), 0.2, dtype=torch.float64)


def normal(seed: int, batch_size: int, count: int = 24) -> Tensor:
    """Gradients of batches, normal, with mean `MEAN` and covariance diag(SCALES^2)/B."""
    draws = torch.Generator().manual_seed(seed)
    return MEAN + SCALES / math.sqrt(batch_size) * torch.randn(count, 15, generator=draws, dtype=torch.float64)


def test_the_intervals_hold_the_truth_in_at_least_90_of_100_draws():
    """By hand: tr C = 22.5 - 1 = 21.5 per example, |g|^2 = 15 * 0.04 = 0.6; the ratio of 8 and 64 is 1/8."""
    variance, squared_mean = 9 + 4 + 4 + 1 + 1 + 10 * 0.25, 0.6
    truths = {"trace": variance / 8, "mean": squared_mean, "ratio": 1 / 8, "alike": 1.0}
    held = dict.fromkeys(truths, 0)
    for seed in range(100):
        small, large = normal(2 * seed, 8), normal(2 * seed + 1, 64)
        found = {
            "trace": mean_of(powers(small)),
            "mean": mean_of(squared_means(large)),
            "ratio": ratio_of(powers(large), powers(small)),
            "alike": similarity(small, large),
        }
        for name, estimate in found.items():
            held[name] += estimate.low <= truths[name] <= estimate.high
    assert all(count >= 90 for count in held.values()), held


def test_the_squared_mean_is_that_of_two_different_gradients():
    """Gradients 1, 2 and 6 in one dimension: (1*2 + 1*6 + 2*6)/3 = 20/3, though their mean's square is 9."""
    assert mean_of(squared_means(torch.tensor([[1.0], [2.0], [6.0]], dtype=torch.float64))).value == pytest.approx(
        20 / 3
    )
    # Their variance is 7, and 9 - 7/3 is the same.
    assert mean_of(powers(torch.tensor([[1.0], [2.0], [6.0]], dtype=torch.float64))).value == pytest.approx(7)


def test_the_similarity_of_different_matrices_is_their_cosine():
    """Diag(4, 1) and diag(1, 4): (4 + 4)/17."""
    draws = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 400, 2, generator=draws, dtype=torch.float64)
    alike = similarity(one * torch.tensor([2.0, 1.0]), other * torch.tensor([1.0, 2.0]))
    assert alike.low < 8 / 17 < alike.high
    assert alike.value == pytest.approx(8 / 17, abs=0.05)


def test_a_point_tells_every_rule_drift_and_the_exponents():
    """Batches of 8 and 64 of a set so large that drawing without replacement makes no difference; r = 8."""
    drawn = {
        Variant("baseline"): Gradients(8, normal(0, 8, 400)),
        Variant("none"): Gradients(64, normal(1, 64, 400)),
        Variant("none", noise=True): Gradients(64, normal(2, 8, 400)),
    }
    point = point_of(7, 0.5, drawn, {"first": slice(0, 5), "rest": slice(5, 15)}, 10**9)
    variance = 21.5
    by_rule = {match.rule: match for match in point.matches}
    assert by_rule["sqrt"].covariance.value == pytest.approx(1, abs=0.1)
    assert by_rule["linear"].covariance.value == pytest.approx(8, rel=0.1)
    assert by_rule["none"].covariance.value == pytest.approx(1 / 8, rel=0.1)
    assert by_rule["noise"].covariance.value == pytest.approx(1, abs=0.1)
    second = 8 * (0.6 + variance / 64) / (0.6 + variance / 8)
    assert by_rule["sqrt"].second_moment.value == pytest.approx(second, rel=0.1)
    assert point.noise.value == pytest.approx(0.25 * variance / 8, rel=0.1)
    assert point.drift.value == pytest.approx(0.25 * 0.6, rel=0.1)
    assert point.drift_share.value == pytest.approx(0.6 / (0.6 + variance / 8), rel=0.1)
    assert point.covariance_exponent.value == pytest.approx(0.5, abs=0.04)
    assert point.exponent.value == pytest.approx(noise_exponent(0.6, variance, 8, 64), abs=0.02)
    assert point.exponent.low < point.exponent.value < point.exponent.high
    assert point.noise_scale.examples == pytest.approx(variance / 0.6, rel=0.1)
    assert point.noise_scale.low < point.noise_scale.examples < point.noise_scale.high
    assert [ratio.covariance.value for ratio in point.groups] == pytest.approx([1, 1], abs=0.12)


def test_without_drift_the_exponent_is_a_half_and_there_is_no_noise_scale():
    """Gradients in pairs g and -g: the estimate of |g|^2 is below 0."""
    half = normal(0, 8, 12) - MEAN
    gradients = torch.cat([half, -half])
    drawn = {Variant("baseline"): Gradients(8, gradients), Variant("none"): Gradients(64, gradients / math.sqrt(8))}
    point = point_of(0, 0.1, drawn, {"all": slice(None)}, 10**6)
    assert point.drift.value < 0
    assert point.drift_share.value == 0
    assert point.exponent.value == pytest.approx(0.5)
    assert point.noise_scale.examples == math.inf
