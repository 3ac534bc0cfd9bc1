"""Tests of paired differences, and their correction if there are several."""

import math
import statistics
from collections.abc import Sequence


def p_value(differences: Sequence[float]) -> float:
    """The two-sided p of the paired t-test: that the mean of independent normal `differences` is 0.

    It is below 5% exactly if `mean_interval` leaves out 0. Raises `statistics.StatisticsError` for fewer than two.
    """
    # scipy.special alone: scipy.stats takes half a second to import.
    from scipy.special import stdtr

    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return 2 * float(stdtr(len(differences) - 1, -abs(statistics.fmean(differences)) / error))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """The p-values after Holm's correction: of those below 5%, the chance that any is there by luck is at most 5%.

    It holds however the tests hang together, and rejects all that Bonferroni's does. Source: Holm 1979, A simple
    sequentially rejective multiple test procedure, Scand. J. Stat. 6(2).
    """
    corrected, least = [0.0] * len(p_values), 0.0
    for before, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - before) * p_values[place]))
        corrected[place] = least
    return tuple(corrected)
