"""Claims about tests, held against scipy's and numbers worked by hand."""

import pytest
from scipy import stats

from lbadvisor.comparison.intervals import mean_interval
from lbadvisor.comparison.significance import holm, p_value


@pytest.mark.parametrize("differences", [[18.2, 23.4, 26.4], [-0.6, -1.2, -1.8], [0.5, -0.25, 0.125, 1.0]])
def test_p_is_that_of_the_t_test_and_agrees_with_the_interval(differences: list[float]) -> None:
    p = p_value(differences)
    assert p == pytest.approx(stats.ttest_1samp(differences, 0.0).pvalue)
    low, high = mean_interval(differences) or (0.0, 0.0)
    assert (p < 0.05) is (low > 0 or high < 0)


def test_holms_steps_are_worked_by_hand() -> None:
    """0.01 * 4, 0.02 * 3, then 0.03 * 2 and 0.04 * 1, neither below the one before: in the order given."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx((0.06, 0.04, 0.06, 0.06))


def test_a_corrected_p_is_never_above_one_nor_below_what_it_was() -> None:
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([0.2]) == (0.2,)
    assert holm([]) == ()
