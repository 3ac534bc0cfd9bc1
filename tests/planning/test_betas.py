"""The rules for the moving averages of Adam and RMSprop, worked by hand."""

import math

import pytest

from lbadvisor.errors import PlanError
from lbadvisor.planning.baseline import baseline_of_numbers
from lbadvisor.planning.betas import adapted_beta, adapted_epsilon, applied_betas, largest_target

ADAM = baseline_of_numbers(128, optimizer="adam")
SGD = baseline_of_numbers(128)


def test_malladis_rule_multiplies_one_minus_beta():
    assert adapted_beta("beta2", 0.999, 32, "sde") == pytest.approx(0.968)
    assert adapted_beta("beta1", 0.9, 8, "sde") == pytest.approx(0.2)
    assert adapted_beta("beta1", 0.0, 8, "sde") == 0
    twice = adapted_beta("beta2", adapted_beta("beta2", 0.999, 4, "sde"), 8, "sde")
    assert twice == pytest.approx(0.968)  # two steps of 4 and 8 are one of 32
    assert adapted_epsilon(1e-8, 16, "sde") == pytest.approx(2.5e-9)


def test_mareks_rule_keeps_the_half_life_of_beta2_in_examples_and_beta1():
    """beta^r: .999 at 128 is .968491 at 4096; two steps of 4 and 8 are one of 32."""
    once = adapted_beta("beta2", 0.999, 32, "half-life")
    twice = adapted_beta("beta2", adapted_beta("beta2", 0.999, 4, "half-life"), 8, "half-life")
    assert once == pytest.approx(0.968491, abs=1e-6)
    assert twice == pytest.approx(once)
    assert 4096 * math.log(0.5) / math.log(once) == pytest.approx(128 * math.log(0.5) / math.log(0.999))
    assert adapted_beta("beta1", 0.9, 64, "half-life") == 0.9
    assert adapted_epsilon(1e-8, 64, "half-life") == 1e-8


@pytest.mark.parametrize(("ratio", "rule"), [(1, "sde"), (8, "sde"), (9, "sde"), (9.1, "half-life"), (16, "half-life")])
def test_the_rule_is_malladis_while_beta1_averages_and_mareks_beyond(ratio, rule):
    """With beta1 = .9 Malladi's leaves .2 at a ratio of 8, .1 at 9, and nothing from 10 on."""
    assert applied_betas(ADAM, ratio, "auto") == rule
    assert applied_betas(ADAM, ratio, "keep") == "keep"


def test_rmsprop_has_one_beta_and_malladis_rule_reaches_farther():
    rmsprop = baseline_of_numbers(128, optimizer="rmsprop")  # beta2 = .99
    assert applied_betas(rmsprop, 64, "auto") == "sde"
    assert applied_betas(rmsprop, 128, "auto") == "half-life"


def test_malladis_rule_as_asked_is_an_error_beyond_its_limit_with_the_largest_batch_that_works():
    """A ratio of 16 with beta .9 gives 1 - 16 * .1 = -0.6; r must stay below 10."""
    with pytest.raises(PlanError, match=r"= -0\.6.*allows is 1279"):
        applied_betas(ADAM, 16, "sde")
    assert applied_betas(ADAM, 1279 / 128, "sde") == "sde"
    with pytest.raises(PlanError):
        applied_betas(ADAM, 10, "sde")
    assert largest_target(ADAM, 0.5) == 639
