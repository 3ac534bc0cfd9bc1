"""A jump of the loss at a resume is one that chance does not make."""

import math
import random

import pytest

from lbadvisor.runs.continuity import Jump, loss_jump

STEADY = [1.0, 1.2, 1.0, 1.2, 1.0, 1.2, 1.0, 1.2, 1.0]
"""Eight changes of 0.2 to either side: mean 0, standard deviation sqrt(8 * 0.04 / 7) = 0.21381."""


def test_a_rise_of_more_than_six_deviations_is_a_jump_and_no_less() -> None:
    assert loss_jump(STEADY, 1.0 + 6 * 0.2138) is None
    jump = loss_jump(STEADY, 1.0 + 6 * 0.2139)
    assert jump is not None
    assert (jump.before, jump.after) == (1.0, 1.0 + 6 * 0.2139)
    assert jump.deviations == pytest.approx(6 * 0.2139 / math.sqrt(8 * 0.04 / 7))


def test_a_fall_is_no_jump() -> None:
    assert loss_jump(STEADY, 1e-6) is None
    # The loss rises steadily, and then stays: far from its usual change, and no rise.
    assert loss_jump([float(i) for i in range(10)], 9.0) is None


def test_with_few_changes_nothing_is_said() -> None:
    assert loss_jump(STEADY[:8], 100.0) is None
    assert loss_jump([], 100.0) is None


def test_only_the_last_twenty_changes_count() -> None:
    assert loss_jump([9.0, 1.0] * 50 + STEADY * 3, 3.0) is not None
    assert loss_jump([9.0, 1.0] * 50 + STEADY, 3.0) is None


def test_any_rise_above_a_constant_loss_is_a_jump() -> None:
    assert loss_jump([0.5] * 10, 0.6) == Jump(0.5, 0.6, math.inf)
    assert loss_jump([0.5] * 10, 0.5) is None


def test_what_is_not_finite_is_not_compared() -> None:
    assert loss_jump([*STEADY, math.nan], math.inf) is None
    assert loss_jump([math.nan, *STEADY], 3.0) is not None


def test_a_noisy_falling_loss_hardly_ever_jumps_by_chance() -> None:
    """20 000 resumes of a curve with independent noise: none, where one in 160 000 is expected."""
    draws = random.Random(0)
    jumps = 0
    for _ in range(20_000):
        curve = [2.0 - 0.01 * i + draws.gauss(0, 0.05) for i in range(22)]
        jumps += loss_jump(curve[:-1], curve[-1]) is not None
    assert jumps == 0
