"""The rules against numbers worked by hand."""

import math

import pytest

from lbadvisor.advisor import rules
from lbadvisor.errors import PlanError, RefusedError


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


def test_the_sde_rule_multiplies_one_minus_beta():
    assert rules.adapted_beta("beta2", 0.999, 32, "sde", 128) == pytest.approx(0.968)
    assert rules.adapted_beta("beta1", 0.9, 8, "sde", 128) == pytest.approx(0.2)


def test_half_life_in_examples_is_invariant_and_composes():
    """beta^r: .999 at 128 is .968491 at 4096; two steps of 4 and 8 are one of 32."""
    once = rules.adapted_beta("beta2", 0.999, 32, "half-life", 128)
    twice = rules.adapted_beta("beta2", rules.adapted_beta("beta2", 0.999, 4, "half-life", 128), 8, "half-life", 512)
    assert once == pytest.approx(0.968491, abs=1e-6)
    assert twice == pytest.approx(once)
    assert 4096 * math.log(0.5) / math.log(once) == pytest.approx(128 * math.log(0.5) / math.log(0.999))


def test_a_beta_that_would_fall_below_zero_is_refused_with_the_largest_batch_that_works():
    """A ratio of 16 with beta .9 gives 1 - 16 * .1 = -0.6; r must stay below 10."""
    with pytest.raises(RefusedError, match=r"= -0\.6.*allows is 1279"):
        rules.adapted_beta("beta1", 0.9, 16, "sde", 128)
    assert rules.adapted_beta("beta1", 0.9, 1279 / 128, "sde", 128) > 0
    with pytest.raises(RefusedError):
        rules.adapted_beta("beta1", 0.9, 1280 / 128, "sde", 128)
