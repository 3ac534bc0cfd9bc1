"""The rules against numbers worked by hand."""

import numpy as np
import pytest

from lbadvisor.errors import PlanError
from lbadvisor.planning import rules


@pytest.mark.parametrize(
    ("rule", "expected"), [("sqrt", 0.5656854), ("linear", 3.2), ("none", 0.1), ("exponent=0.25", 0.2378414)]
)
def test_the_golden_learning_rates_at_a_ratio_of_32(rule, expected):
    assert 0.1 * rules.lr_factor(rules.parse_lr_rule(rule), 128, 4096, 50_000) == pytest.approx(expected, abs=1e-7)


def test_the_finite_population_form_keeps_the_covariance_of_batches_drawn_without_replacement():
    """The covariance is eta^2 (S/M) (N-M)/(N-1), science of the exact statement: equal before and after."""
    factor = rules.lr_factor(rules.FINITE_POPULATION, 128, 4096, 50_000)
    examples = 50_000

    def covariance(lr, batch_size):
        return lr**2 / batch_size * (examples - batch_size) / (examples - 1)

    assert 0.1 * factor == pytest.approx(0.5896280, abs=1e-7)
    assert covariance(factor, 4096) == pytest.approx(covariance(1.0, 128), rel=1e-12)


def test_the_finite_population_form_needs_more_examples_than_the_batch():
    with pytest.raises(PlanError, match="a full batch has no noise"):
        rules.lr_factor(rules.FINITE_POPULATION, 128, 50_000, 50_000)
    with pytest.raises(PlanError, match="--examples"):
        rules.lr_factor(rules.FINITE_POPULATION, 128, 4096, None)


def test_a_smaller_target_batch_is_no_plan():
    with pytest.raises(PlanError, match="below the baseline's 128"):
        rules.batch_ratio(128, 64)


@pytest.mark.parametrize("text", ["sqr", "exponent", "exponent=", "exponent=x", "exponent=nan", "exponent=7", ""])
def test_an_unknown_rule_is_an_error(text):
    with pytest.raises(PlanError):
        rules.parse_lr_rule(text)


def test_a_misspelt_rule_gets_a_suggestion():
    with pytest.raises(PlanError, match="did you mean `linear`"):
        rules.parse_lr_rule("liner")


def test_the_clipping_warm_up_is_a_baseline_epoch_and_at_most_a_tenth_of_the_run():
    assert rules.clipping_warmup_updates(50_000, 128, 78_125) == 391  # 50000/128 = 390.6
    assert rules.clipping_warmup_updates(60_000, 128, 146) == 14  # 469, but a tenth of 146
    assert rules.clipping_warmup_updates(1297, 32, 3) == 1


def test_the_noise_of_a_batch_is_that_of_drawing_without_replacement_and_of_the_noise_put_on_it():
    """[(N - M)/(N - 1) + ratio - 1]/M, by hand for N = 11, M = 1 and 6."""
    assert rules.noise_variance(1, 11, None) == pytest.approx(1)
    assert rules.noise_variance(6, 11, None) == pytest.approx(0.5 / 6)
    assert rules.noise_variance(6, 11, 6) == pytest.approx(5.5 / 6)
    assert rules.noise_variance(11, 11, None) == 0
    assert rules.noise_variance(6, None, None) == pytest.approx(1 / 6)


def test_the_noise_of_a_batch_is_what_is_measured_on_drawn_batches():
    """An oracle: 40 000 batches of 8 of 32 numbers, plain and with noise of ratio 4; variances in the numbers' own."""
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=32)
    numbers -= numbers.mean()  # the mean's own square is what the formula neglects
    batches = np.array([generator.permutation(numbers)[:8] for _ in range(40_000)])
    weights = generator.normal(1, 3**0.5, size=batches.shape)  # ratio 4
    variance = (numbers**2).mean()
    assert batches.mean(axis=1).var() / variance == pytest.approx(rules.noise_variance(8, 32, None), rel=0.03)
    assert (batches * weights).mean(axis=1).var() / variance == pytest.approx(rules.noise_variance(8, 32, 4), rel=0.03)
