"""Confidence intervals over seeds, each (low, high) with a confidence of 95% for normally distributed errors.

Quantiles of Student's t are scipy's, from `scipy.special`: `scipy.stats` has whole tests, which the tests hold against
these, and takes a further half second to import.
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

Interval = tuple[float, float]

CONFIDENCE = 0.95


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Student's interval for the mean of `values`; None for fewer than two."""
    n = len(values)
    if n < 2:
        return None
    return _around(fmean(values), stdev(values) / math.sqrt(n), n - 1)


def difference_interval(values: Sequence[float], others: Sequence[float]) -> Interval | None:
    """Welch's interval for the mean of `values` minus that of `others`, independent samples of unequal variances.

    None where one of them has fewer than two. Degrees of freedom: Welch 1947, Biometrika 34, 28-35.
    """
    if len(values) < 2 or len(others) < 2:
        return None
    parts = [(stdev(sample) ** 2 / len(sample), len(sample) - 1) for sample in (values, others)]
    variance = sum(part for part, _ in parts)
    difference = fmean(values) - fmean(others)
    if variance == 0:
        return difference, difference
    return _around(difference, math.sqrt(variance), variance**2 / sum(part**2 / freedom for part, freedom in parts))


def ratio_interval(numerators: Sequence[float], denominators: Sequence[float]) -> Interval | None:
    """Fieller's interval for mean(numerators) / mean(denominators), given in pairs; None where there is no bounded one.

    A ratio r lies in it where Student's interval for the mean of `numerator - r * denominator` holds 0; that is exact
    for pairs of normal errors, also of few seeds, where a bootstrap of three values has ten different means to draw
    from. It is bounded just where the interval of the denominators' mean does not hold 0: else some r, however large,
    fits. Source: Fieller 1954, J. R. Stat. Soc. B 16, 175-185.
    """
    n = len(numerators)
    if n < 2:
        return None
    above, below = fmean(numerators), fmean(denominators)
    quantile = _quantile(n - 1) ** 2 / n
    covariance = sum((x - above) * (y - below) for x, y in zip(numerators, denominators, strict=True)) / (n - 1)
    # a r^2 - 2 b r + c <= 0
    a = below**2 - quantile * stdev(denominators) ** 2
    b = above * below - quantile * covariance
    c = above**2 - quantile * stdev(numerators) ** 2
    if a <= 0:
        return None
    # Not below 0 but by rounding: the quotient of the means solves the inequality.
    half = math.sqrt(max(0.0, b**2 - a * c))
    return (b - half) / a, (b + half) / a


def holds_zero(interval: Interval) -> bool:
    """Whether 0 lies in the interval: no difference is shown."""
    low, high = interval
    return low <= 0 <= high


def _around(mean: float, error: float, freedom: float) -> Interval:
    half = _quantile(freedom) * error
    return mean - half, mean + half


def _quantile(freedom: float) -> float:
    """How many standard errors of a mean lie on each side of it."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
