"""The noisy quadratic model: its closed form, its curve of updates, and how wrong a noise scale's forecast is on it."""

import math
import random

import pytest

from lbadvisor.planning.noise_scale import NoiseScale, stretch
from lbadvisor.planning.noisy_quadratic import (
    HARMONIC,
    LOSS,
    Descent,
    NoisyQuadratic,
    best_descent,
    needed_stretch,
    noise_scale_along,
    stretch_caveats,
    terms,
    updates_to,
)

SMALL = NoisyQuadratic((1.0, 0.25, 0.05), (2.0, 0.3, 0.7))
UPDATES = {1: 200_969, 4: 49_800, 16: 12_571, 64: 3315, 256: 1109, 1024: 710, 4096: 654}
"""By batch size, with the best of 60 learning rates; computed with numpy, apart from this program."""


def expected_loss(model: NoisyQuadratic, descent: Descent) -> float:
    """Its expected loss at the end; lr h must be below 2."""
    return sum(
        h * (final + kept**descent.updates * (1 - final))
        for h, kept, final in terms(model, descent.lr, descent.batch_size)
    ) / 2  # fmt: skip


def recursion(model, lr, batch_size, updates):
    expected = [1.0] * len(model.curvatures)
    for _ in range(updates):
        pairs = zip(model.curvatures, model.variances, expected, strict=True)
        expected = [(1 - lr * h) ** 2 * square + lr**2 * c / batch_size for h, c, square in pairs]
    return expected


def test_the_closed_form_is_the_recursion():
    for descent in (Descent(0.3, 4, 50), Descent(1.7, 32, 7), Descent(1.0, 1, 1)):
        expected = recursion(SMALL, descent.lr, descent.batch_size, descent.updates)
        loss = sum(h * square for h, square in zip(SMALL.curvatures, expected, strict=True)) / 2
        assert expected_loss(SMALL, descent) == pytest.approx(loss, rel=1e-12)


def test_the_closed_form_is_the_mean_of_many_chains():
    """4000 chains of 40 updates: within five standard errors of their mean loss."""
    draws, descent, losses = random.Random(0), Descent(0.5, 8, 40), []
    pairs = [(h, math.sqrt(c / 8)) for h, c in zip(SMALL.curvatures, SMALL.variances, strict=True)]
    for _ in range(4000):
        loss = 0.0
        for h, deviation in pairs:
            weight = 1.0
            for _ in range(descent.updates):
                weight -= descent.lr * (h * weight + draws.gauss(0, deviation))
            loss += h * weight**2 / 2
        losses.append(loss)
    mean = sum(losses) / len(losses)
    error = math.sqrt(sum((loss - mean) ** 2 for loss in losses)) / len(losses)
    assert abs(mean - expected_loss(SMALL, descent)) < 5 * error < 0.1 * mean


def test_the_curve_of_updates_is_that_of_an_independent_computation():
    """Perfect scaling up to about 64, saturation above 1024: the best of 60 learning rates from 0.0001 to 1.99."""
    grid = [1e-4 * 19_900 ** (i / 59) for i in range(60)]
    for batch_size, updates in UPDATES.items():
        best = best_descent(HARMONIC, LOSS, batch_size).lr
        near = sorted(grid, key=lambda lr: abs(math.log(lr / best)))[:2]
        assert min(updates_to(HARMONIC, LOSS, lr, batch_size) for lr in near) == updates


def test_the_best_learning_rate_needs_the_fewest_updates():
    for batch_size in (1, 256, 4096):
        best = best_descent(HARMONIC, LOSS, batch_size)
        assert 0.9 * UPDATES[batch_size] < best.updates <= UPDATES[batch_size]
        assert (
            expected_loss(HARMONIC, best)
            <= LOSS
            < expected_loss(HARMONIC, Descent(best.lr, batch_size, best.updates - 1))
        )
        for factor in (0.9, 1.05):
            assert updates_to(HARMONIC, LOSS, factor * best.lr, batch_size) >= best.updates


def test_too_high_a_learning_rate_never_gets_there():
    assert updates_to(HARMONIC, LOSS, 2.0, 4096) == math.inf
    assert updates_to(HARMONIC, LOSS, 0.1, 1) == math.inf


def test_the_noise_scale_along_a_descent_is_the_ratio_of_the_means():
    descent, total = Descent(0.3, 4, 30), 0.0
    for updates in range(30):
        expected = recursion(SMALL, 0.3, 4, updates)
        total += sum(h * h * square for h, square in zip(SMALL.curvatures, expected, strict=True))
    assert noise_scale_along(SMALL, descent) == pytest.approx(3.0 / (total / 30))


def test_the_noise_scale_predicts_from_half_to_all_of_the_stretch_that_is_needed():
    """Nearly all with batches far below it, half of it a factor of ten below it, and again nearly all far above it."""
    shares = {
        (share, ratio): stretch(1000 / share, 1000, 1000 * ratio) / needed_stretch(1000 / share, 1000, 1000 * ratio)
        for share in (0.001, 0.1, 3)
        for ratio in (2, 32)
    }
    assert all(0.5 <= value <= 1.02 for value in shares.values())
    assert shares[0.001, 32] > 0.97
    assert shares[0.1, 32] < 0.6
    assert shares[3, 32] > 0.85


@pytest.mark.parametrize(("noise_scale", "needed"), [(math.inf, 1), (1e12, 1), (1e-3, 128)])
def test_the_extremes_need_no_stretch_and_the_full_regime(noise_scale, needed):
    assert needed_stretch(noise_scale, 32, 4096) == pytest.approx(needed, rel=1e-3)


def test_the_caveat_tells_both_numbers():
    """By hand: (900 + 4096)/(900 + 128) = 4.86."""
    (told,) = stretch_caveats(NoiseScale(900), 128, 4096)
    assert "the noise scale predicts 4.86" in told
    assert f"have to grow by {needed_stretch(900, 128, 4096):.3g}" in told


@pytest.mark.parametrize("noise_scale", [0.0, math.inf])
def test_without_a_finite_noise_scale_there_is_no_model_of_it(noise_scale):
    assert stretch_caveats(NoiseScale(noise_scale), 128, 4096) == ()
