"""What a noise scale predicts: AdaScale's gain, the stretch, and the hyperbola of updates and examples."""

import math
from dataclasses import astuple

import pytest

from lbadvisor.planning.noise_scale import (
    NoiseScale,
    gain,
    noise_scale_text,
    predicted_gain,
    predicted_stretch,
    relative_examples,
    relative_updates,
    stretch,
)
from lbadvisor.records.bounded import Bounded

SCALES = (0.5, 10.7, 209.0, 1e6)


@pytest.mark.parametrize("scale", SCALES)
def test_updates_and_examples_lie_on_the_hyperbola(scale):
    for batch in (scale / 3, scale, 2 * scale):
        product = (relative_updates(scale, batch) - 1) * (relative_examples(scale, batch) - 1)
        assert product == pytest.approx(1, abs=1e-14)
    for batch in (1, 32, 4096, 10**7):
        # The same, without a difference that rounding would spoil.
        total = 1 / relative_updates(scale, batch) + 1 / relative_examples(scale, batch)
        assert total == pytest.approx(1, abs=1e-14)
    assert (relative_updates(scale, scale), relative_examples(scale, scale)) == (2, 2)


@pytest.mark.parametrize("scale", SCALES)
def test_the_gain_is_adascales_and_the_ratio_of_the_best_learning_rates(scale):
    """AdaScale: (sigma^2 + mu^2)/(sigma^2/S + mu^2), with mu^2 = 1 and sigma^2 = B_n/B_S of the small batch."""
    for batch, ratio in ((1, 8), (128, 32), (32, 40)):
        variance = scale / batch
        assert gain(scale, batch, batch * ratio) == pytest.approx((variance + 1) / (variance / ratio + 1), rel=1e-14)
        best = [1 / (1 + scale / size) for size in (batch * ratio, batch)]
        assert gain(scale, batch, batch * ratio) == pytest.approx(best[0] / best[1], rel=1e-14)
        assert stretch(scale, batch, batch * ratio) * gain(scale, batch, batch * ratio) == pytest.approx(ratio)
        updates = relative_updates(scale, batch) / relative_updates(scale, batch * ratio)
        assert gain(scale, batch, batch * ratio) == pytest.approx(updates, rel=1e-14)


def test_without_mean_the_gain_is_the_ratio_and_without_noise_it_is_one():
    assert (gain(math.inf, 128, 4096), stretch(math.inf, 128, 4096)) == (32, 1)
    assert (gain(0.0, 128, 4096), stretch(0.0, 128, 4096)) == (1, 32)
    assert relative_examples(0.0, 128) == math.inf


@pytest.mark.parametrize(
    ("scale", "text"),
    [
        (NoiseScale(1234.4, 987.6, 1601.0), "1,230 (988 to 1,600)"),
        (NoiseScale(2.345), "2.35"),
        (NoiseScale(math.inf, 353.0, math.inf), "beyond measure (at least 353)"),
        (NoiseScale(101.0, 0.0, math.inf), "101 (undetermined)"),
    ],
)
def test_a_noise_scale_is_told_with_its_interval(scale, text):
    assert noise_scale_text(scale) == text


@pytest.mark.parametrize(
    ("scale", "stretched", "worth"),
    [
        # (B_n + 512)/(B_n + 32) at 100, 130 and 80; the gain is 16 over that.
        (NoiseScale(100, 80, 130), (612 / 132, 642 / 162, 592 / 112), (16 * 132 / 612, 16 * 112 / 592, 16 * 162 / 642)),
        (NoiseScale(100, 80, math.inf), (612 / 132, 1, 592 / 112), (16 * 132 / 612, 16 * 112 / 592, 16)),
        (NoiseScale(100, 0, math.inf), (612 / 132, 1, 16), (16 * 132 / 612, 1, 16)),
    ],
)
def test_an_interval_of_the_noise_scale_is_one_of_what_it_predicts(scale, stretched, worth):
    assert astuple(predicted_stretch(scale, 32, 512)) == pytest.approx(stretched)
    assert astuple(predicted_gain(scale, 32, 512)) == pytest.approx(worth)


def test_without_an_interval_what_it_predicts_has_none():
    assert predicted_stretch(NoiseScale(100), 32, 512) == Bounded(pytest.approx(612 / 132))
