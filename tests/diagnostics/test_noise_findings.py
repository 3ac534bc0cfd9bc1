"""What is found in readings, worked by hand; and what is said where they leave it open."""

import math

import pytest

from lbadvisor.diagnostics.noise.noise_estimate import GradientMoments
from lbadvisor.diagnostics.noise.noise_findings import noise_diagnosis, noise_findings


def moments(count, squares=(1.0,), variances=(100.0,)):
    """Readings every 10 updates of two seeds."""
    return [
        GradientMoments(seed, 10 * (place + 1), squares[place % len(squares)], variances[place % len(variances)])
        for place in range(count)
        for seed in (0, 1)
    ]


def test_a_larger_batch_and_the_costs_are_as_worked_by_hand():
    """B_n = 100; from 32 to 512 the stretch is 612/132 and the gain 16 over that."""
    found = noise_findings("a", 32, 512, moments(5))
    assert (found.noise_scale.examples, found.noise_scale.low, found.noise_scale.high) == (100, 100, 100)
    stretch, gain = found.larger.stretch, found.larger.gain
    assert (stretch.value, stretch.low, stretch.high) == pytest.approx((612 / 132,) * 3)
    assert (gain.value, gain.low, gain.high) == pytest.approx((16 * 132 / 612,) * 3)
    assert [cost.batch_size for cost in found.costs] == [32, 64, 128, 256, 512]
    assert (found.costs[0].relative_updates, found.costs[0].relative_examples) == pytest.approx((4.125, 1.32))
    assert found.seeds == (0, 1)


def test_the_ends_of_the_interval_give_those_of_gain_and_stretch():
    found = noise_findings("a", 32, 512, moments(20, squares=(0.8, 1.2), variances=(90.0, 100.0, 110.0)))
    low, high = found.noise_scale.low, found.noise_scale.high
    assert low < 100 < high
    stretch, gain = found.larger.stretch, found.larger.gain
    assert (stretch.low, stretch.high) == pytest.approx(((high + 512) / (high + 32), (low + 512) / (low + 32)))
    assert gain.low < gain.value < gain.high


def test_windows_cover_the_readings_once_with_ratios_of_means():
    """Means of ratios would be 75 in every window: (100/1 + 100/2)/2."""
    found = noise_findings("a", 32, None, moments(40, squares=(1.0, 2.0)))
    assert sum(window.readings for window in found.windows) == 80
    assert len(found.windows) == 12
    for before, after in zip(found.windows, found.windows[1:], strict=False):
        assert before.last_update < after.first_update
    assert found.noise_scale.examples == pytest.approx(100 / 1.5)
    for window in found.windows:
        assert window.noise_scale.examples == pytest.approx(window.variance / window.squared_mean)
    assert len(noise_findings("a", 32, None, moments(2)).windows) == 1


def test_the_diagnosis_says_what_is_predicted_and_what_stands_against_it():
    told = noise_diagnosis(noise_findings("a", 32, 512, moments(5)))
    assert "The noise scale is 100 (100 to 100) examples, from 10 readings at updates 10 to 50 of 2 seeds." in (
        told.conclusion
    )
    assert "An update at 512 is worth 3.45 (3.45 to 3.45) at 32 (the batch ratio is 16)" in told.conclusion
    assert "takes 4.64 (4.64 to 4.64) times the epochs; the full regime takes 16." in told.conclusion
    caveats = " ".join(told.caveats)
    assert all(word in caveats for word in ("Hessian", "arXiv:2505.23971", "grows", "nothing about generalization"))
    assert "noisy quadratic" in told.caveats[-1]
    assert "the noise scale predicts 4.64" in told.caveats[-1]
    assert "noisy quadratic" not in " ".join(noise_diagnosis(noise_findings("a", 32, None, moments(5))).caveats)
    assert [graph.title for graph in told.graphs] == [
        "Noise scale along the training",
        "Updates and examples against the batch size",
    ]


def test_without_a_mean_gradient_nothing_is_predicted():
    found = noise_findings("a", 32, 512, moments(2, squares=(1.0, -1.0)))
    assert found.noise_scale.examples == math.inf
    assert found.costs == ()
    told = noise_diagnosis(found)
    assert told.graphs == ()
    assert "The noise scale is beyond measure (at least" in told.conclusion
    assert [grid.title for grid in told.grids] == ["Along the training"]
    assert "cannot be told" in told.conclusion
