"""Thins a curve so that it looks the same: every stretch of the axis keeps its highest and lowest points."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

LEAST = 16
"""Points to which any curve can be thinned: the ends, and an extreme of each kind on each axis."""


@dataclass(frozen=True, slots=True)
class Extreme:
    """What a curve must keep: the highest of `values` in every stretch, or the lowest."""

    values: Floats
    highest: bool


def kept(updates: Floats, extremes: Sequence[Extreme], at_most: int) -> Indices:
    """The indices of the points to keep, ascending, at most `at_most`; all if there are no more.

    `updates` ascends from above 0. The axis is cut into equal stretches twice, in updates and in their logarithm, so
    that the points suit a linear and a logarithmic axis; each stretch keeps its extremes with the place where they
    are, of equals the first. The two ends are kept. `at_most` is `LEAST` or more, for up to 7 kinds of extremes.
    """
    if len(updates) <= at_most:
        return np.arange(len(updates))
    stretches = (at_most - 2) // (2 * len(extremes))
    places = [np.array([0, len(updates) - 1])]
    for position in (updates, np.log(updates)):
        share = (position - position[0]) / (position[-1] - position[0])
        stretch = np.minimum((share * stretches).astype(np.intp), stretches - 1)
        places += [_first_extremes(stretch, extreme) for extreme in extremes]
    return np.unique(np.concatenate(places))


def _first_extremes(stretch: Indices, extreme: Extreme) -> Indices:
    """The place of the first extreme value of every stretch that has points; `stretch` ascends."""
    values = extreme.values if extreme.highest else -extreme.values
    starts = np.flatnonzero(np.diff(stretch, prepend=-1))
    highest = np.repeat(np.maximum.reduceat(values, starts), np.diff(starts, append=len(stretch)))
    places = np.flatnonzero(values == highest)
    return places[np.unique(stretch[places], return_index=True)[1]]
