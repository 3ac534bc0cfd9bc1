"""95% intervals for means and for a share, from a few seeds. scipy's quantiles of Student's t; the rest is algebra."""

import math
import statistics
from collections.abc import Sequence

from lbadvisor.records.bounded import Bounded

CONFIDENCE = 0.95

Interval = tuple[float, float]


def t_quantile(degrees: int, comparisons: int = 1) -> float:
    """The two-sided 95% quantile of Student's t: 4.303 with 2 degrees of freedom.

    Of several comparisons Bonferroni's: the intervals all hold together in 95% of cases at least.
    """
    # scipy.special alone: scipy.stats takes half a second to import.
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 1 - (1 - CONFIDENCE) / 2 / comparisons))


def mean_interval(values: Sequence[float], comparisons: int = 1) -> Interval | None:
    """The interval of the mean of independent normal `values`, mean +- t s / sqrt(n); None for fewer than two.

    For differences paired by seed, it is that of the paired t-test. `comparisons` as in `t_quantile`.
    """
    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    half = t_quantile(len(values) - 1, comparisons) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half


def mean_of(values: Sequence[float], comparisons: int = 1) -> Bounded:
    """The mean of independent values, with `mean_interval`."""
    return Bounded(statistics.fmean(values), *(mean_interval(values, comparisons) or (None, None)))


def ratio_of(numerators: Sequence[float], denominators: Sequence[float]) -> Bounded:
    """The ratio of two means, with Fieller's interval."""
    value = statistics.fmean(numerators) / statistics.fmean(denominators)
    return Bounded(value, *(ratio_interval(numerators, denominators) or (None, None)))


def ratio_interval(numerators: Sequence[float], denominators: Sequence[float], comparisons: int = 1) -> Interval | None:
    """Fieller's interval of the ratio of two means, their values paired; None if it is unbounded.

    The set of all ratios q for which the mean of (numerator - q denominator) does not differ from 0 by a t-test: exact
    for normal values, however they correlate. It is bounded if the denominators' own interval excludes 0. A
    bootstrap over three seeds has only 27 samples, and covers far less than it claims. Source: Fieller 1954, Some
    problems in interval estimation, J. R. Stat. Soc. B 16(2). `comparisons` as in `t_quantile`. Raises
    `ValueError` for fewer than two pairs.
    """
    n = len(numerators)
    if n != len(denominators) or n < 2:
        raise ValueError(f"{n} numerators and {len(denominators)} denominators: two pairs or more are needed")
    over, under = statistics.fmean(numerators), statistics.fmean(denominators)
    scale = t_quantile(n - 1, comparisons) ** 2 / n
    a = under**2 - scale * statistics.variance(denominators, under)
    b = over * under - scale * statistics.covariance(numerators, denominators)
    c = over**2 - scale * statistics.variance(numerators, over)
    if a <= 0:
        return None
    # Below 0 only by rounding: the ratio of the means itself is in the set.
    half = math.sqrt(max(0.0, b * b - a * c))
    return (b - half) / a, (b + half) / a
