"""Claims about intervals, held against scipy's own tests and numbers worked by hand."""

import math

import pytest
from scipy import stats

from lbadvisor.comparison.intervals import mean_interval, ratio_interval, t_quantile


def test_the_quantile_is_students() -> None:
    """Any table of t: 12.706, 4.303 and 2.776 for 1, 2 and 4 degrees of freedom."""
    assert [t_quantile(n) for n in (1, 2, 4)] == pytest.approx([12.7062, 4.30265, 2.77645], abs=1e-4)


def test_the_interval_of_a_mean_is_worked_by_hand() -> None:
    """1, 2, 3: mean 2, deviation 1, so 2 -+ 4.30265 / sqrt(3)."""
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)
    assert mean_interval([1.0]) is None


def test_the_interval_of_paired_differences_is_that_of_the_paired_t_test() -> None:
    small, large = [97.1, 98.0, 97.6, 97.2], [80.2, 74.9, 79.3, 71.0]
    expected = stats.ttest_rel(small, large).confidence_interval(0.95)
    differences = [s - m for s, m in zip(small, large, strict=True)]
    assert mean_interval(differences) == pytest.approx((expected.low, expected.high))


def test_at_the_ends_of_a_ratios_interval_a_t_test_is_just_significant() -> None:
    """That is what Fieller's set is: all ratios q that a t-test of (a - q b) does not reject at 5%."""
    a, b = [16.4, 20.1, 17.9, 22.0], [18.2, 23.2, 19.0, 26.4]
    low, high = ratio_interval(a, b) or (math.nan, math.nan)
    assert low < sum(a) / sum(b) < high
    for end in (low, high):
        residuals = [x - end * y for x, y in zip(a, b, strict=True)]
        assert stats.ttest_1samp(residuals, 0.0).pvalue == pytest.approx(0.05)
    inside = [x - (low + 0.01) * y for x, y in zip(a, b, strict=True)]
    assert stats.ttest_1samp(inside, 0.0).pvalue > 0.05


def test_numerators_that_are_a_multiple_of_the_denominators_leave_no_doubt() -> None:
    assert ratio_interval([3.0, 3.3, 3.6], [4.0, 4.4, 4.8]) == pytest.approx((0.75, 0.75))


def test_a_denominator_that_may_be_zero_gives_no_bounded_interval() -> None:
    """-1, 1, 3 has the mean 1 and the interval 1 -+ 4.97, which holds 0."""
    assert ratio_interval([1.0, 1.0, 1.0], [-1.0, 1.0, 3.0]) is None


def test_two_pairs_are_the_least() -> None:
    with pytest.raises(ValueError, match="two pairs or more"):
        ratio_interval([1.0], [1.0])
