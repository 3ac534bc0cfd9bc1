"""The potential's exponent: of a linear loss, of Brownian paths, and of the digits, through one estimator."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lbadvisor.diagnostics.advance import Advance
from lbadvisor.diagnostics.landscape.potential import Potential, Reach, Walk, diagnosis_of_potential, growth_of
from lbadvisor.diagnostics.landscape.random_walks import PotentialRequest, direction, probe_potential
from lbadvisor.errors import LbadvisorError, UsageError
from lbadvisor.recipe.file import load_recipe
from lbadvisor.training.machine import Machine

DIGITS = load_recipe(Path(__file__).parents[2] / "recipes" / "digits.toml")
HERE = Machine(torch.device("cpu"), Path())
DISTANCES = tuple(range(1, 13))


def brownian(draws, seeds=3, directions=16):
    """Each walk is a sum of independent steps of variance 1, so that its variance at d is d."""
    steps = draws.standard_normal((seeds, directions, len(DISTANCES)))
    paths = np.cumsum(steps, -1)
    return [Walk(seed, tuple(path)) for seed in range(seeds) for path in paths[seed]]


def found_of(growth):
    return Potential("made", (0, 1, 2), 16, 100, 32, 500, Reach(12.0, "as asked"), growth)


def test_of_a_linear_loss_gamma_is_1_and_alpha_2():
    """L(w) = a.w changes by d a.u: its deviation over directions on the sphere is d |a|/sqrt(P), exactly in line."""
    a = torch.arange(500, dtype=torch.float64)
    walks = [
        Walk(seed, tuple(d * float(a @ direction(seed, number, 500)) for d in DISTANCES))
        for seed in range(3)
        for number in range(100)
    ]
    growth = growth_of(DISTANCES, walks, float(a.norm()) / 500**0.5)
    for gamma in (growth.gamma, growth.gamma_with_mean):
        assert (gamma.value, gamma.low, gamma.high) == pytest.approx((1, 1, 1))
    assert growth.alpha.value == pytest.approx(2)
    for one in growth.bins:
        assert one.deviation.low < one.from_gradient < one.deviation.high
    # 300 draws know a deviation to 1/sqrt(600), 4%.
    assert growth.bins[-1].deviation.value == pytest.approx(12 * float(a.norm()) / 500**0.5, rel=0.12)
    said = diagnosis_of_potential(found_of(growth)).conclusion
    assert "agrees with alpha = 2" in said
    assert "an exponent near 1 shows a smooth loss, not a random potential" in said


def test_of_a_brownian_potential_gamma_is_one_half_and_alpha_1():
    growth = growth_of(DISTANCES, brownian(np.random.default_rng(0), directions=300), 1.0)
    assert growth.gamma.value == pytest.approx(0.5, abs=0.04)
    assert growth.alpha.value == 2 * growth.gamma.value
    said = diagnosis_of_potential(found_of(growth)).conclusion
    assert "excludes alpha = 2" in said
    assert "shows a smooth loss" not in said


def test_the_interval_covers_the_exponent_as_often_as_it_says():
    """Of 100 draws 95 should; fewer than 90 would happen once in 70 times."""
    draws = np.random.default_rng(1)
    gammas = [growth_of(DISTANCES, brownian(draws), 1.0).gamma for _ in range(100)]
    assert sum(gamma.low <= 0.5 <= gamma.high for gamma in gammas) >= 90


def test_a_deviation_is_that_over_directions_and_the_mean_of_a_start_is_no_part_of_it():
    """Seed 0: 1 and 3, variance 2; seed 1: 10 and 14, variance 8. Their mean is 5, that of all changes 7."""
    distances = (1.0, 2.0, 3.0, 4.0)
    walks = [Walk(seed, tuple(slope * d for d in distances)) for seed, slope in ((0, 1), (0, 3), (1, 10), (1, 14))]
    bins = growth_of(distances, walks, 0.0).bins
    assert [(one.deviation.value**2, one.mean) for one in bins] == [pytest.approx((5 * d**2, 7 * d)) for d in distances]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (((1.0, float("inf")), (2.0, 3.0)), "not finite at the distance 2: give a smaller --distance"),
        (((1.0, 0.0), (2.0, 0.0)), "the loss does not change up to the distance 2: give a larger --distance"),
    ],
)
def test_what_cannot_be_fitted_is_an_error(changes, message):
    with pytest.raises(LbadvisorError, match=message):
        growth_of((1.0, 2.0), [Walk(0, one) for one in changes], 1.0)


def probe(request):
    events = probe_potential(HERE, request)
    seen = []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as end:
            return end.value, [event for event in seen if isinstance(event, Advance)]


REQUEST = PotentialRequest(DIGITS, 64, (0, 1), 4, Reach(0.2, "as asked"))


def test_near_the_digits_initial_weights_the_gradient_explains_the_deviation_and_a_repeat_is_the_same():
    found, events = probe(replace(REQUEST, directions=16))
    losses = replace(REQUEST, directions=16).losses
    assert losses == 2 * 16 * 12
    assert events[-1] == Advance("walking", losses, losses, "losses")
    assert found.normalized_over == 32
    assert found.growth.gamma.value == pytest.approx(1, abs=0.03)
    for one in found.growth.bins:
        assert one.deviation.low < one.from_gradient < one.deviation.high
    again, _ = probe(REQUEST)
    assert again == probe(REQUEST)[0]
    assert again.growth != found.growth


def test_without_a_reach_a_short_training_gives_it():
    found, events = probe(replace(REQUEST, reach=None, directions=2, seeds=(0,)))
    assert events[:200] == [Advance("training", update, 200, "updates") for update in range(1, 201)]
    assert found.reach.source == "as far as 200 updates went"
    assert found.reach.distance == pytest.approx(9.4, abs=0.5)
    assert found.growth.bins[-1].distance == pytest.approx(found.reach.distance)


def test_more_examples_than_there_are_are_refused():
    with pytest.raises(UsageError, match="give a number from 2 to the 1297 training examples"):
        replace(REQUEST, examples=1298)


def test_a_training_that_diverges_tells_no_largest_distance():
    wild = DIGITS.model_copy(update={"optimizer": DIGITS.optimizer.model_copy(update={"lr": 1e30})})
    with pytest.raises(LbadvisorError, match="the training of digits diverged within 200 updates: give --distance"):
        probe(PotentialRequest(wild, 64, (0,), 4, None))
