"""Curves of groups of runs: the mean over the runs of a group, between the lowest and the highest of them.

The band spans the lowest to the highest run, not a standard deviation: three seeds show no more than their range.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from lbadvisor.records.measured_columns import Columns
from lbadvisor.records.quantities import DRAWN, SECONDS, UPDATE, Quantity
from lbadvisor.report.thinning import LEAST, Extreme, Floats, kept

POINTS_PER_CURVE = 1000
POINTS_PER_REPORT = 150_000
"""Points of all curves together; a point is some 20 bytes of a page, and more of them make a browser halt."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One quantity of a group, at the updates that are common to all its runs and finite in each.

    `seconds` of training, `mean`, `low` and `high` are over the runs; one run alone has low = mean = high. Thinned, so
    that the updates of two curves differ. Empty if the runs share nothing. `measured` is how many points it had.
    """

    quantity: Quantity
    update: tuple[int, ...]
    seconds: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    measured: int


@dataclass(frozen=True, slots=True)
class GroupCurves:
    """The curves of one group of runs, one for each of `DRAWN` in their order; the clock's rates as in `Columns`."""

    label: str
    runs: int
    epochs_per_update: float
    examples_per_update: float
    curves: tuple[Curve, ...]


def points_per_curve(groups: int) -> int:
    """How many points a curve may have if this many groups are drawn, so that the page stays fluent and small."""
    shared = POINTS_PER_REPORT // (max(groups, 1) * len(DRAWN))
    return max(min(POINTS_PER_CURVE, shared), LEAST)


def group_curves(label: str, runs: Sequence[Columns], at_most: int = POINTS_PER_CURVE) -> GroupCurves:
    """The curves of the runs of one group, each with at most `at_most` points.

    The runs are of one recipe, so that the first one's clock is that of all. Raises `ValueError` if there is none.
    """
    if not runs:
        raise ValueError(f"the group {label} has no runs")
    return GroupCurves(
        label=label,
        runs=len(runs),
        epochs_per_update=runs[0].epochs_per_update,
        examples_per_update=runs[0].examples_per_update,
        curves=tuple(_curve(quantity, runs, at_most) for quantity in DRAWN),
    )


def _curve(quantity: Quantity, runs: Sequence[Columns], at_most: int) -> Curve:
    columns = [tuple(_floats(run.of[key]) for key in (UPDATE.key, SECONDS.key, quantity.key)) for run in runs]
    finite = [np.isfinite(values) for _, _, values in columns]
    updates = reduce(_shared, (update[mask] for (update, _, _), mask in zip(columns, finite, strict=True)))
    # One row for each run, one column for each shared update.
    rows = [np.searchsorted(update, updates) for update, _, _ in columns]
    values = np.stack([column[row] for (_, _, column), row in zip(columns, rows, strict=True)])
    seconds = np.stack([column[row] for (_, column, _), row in zip(columns, rows, strict=True)]).mean(axis=0)
    mean, low, high = values.mean(axis=0), values.min(axis=0), values.max(axis=0)
    extremes = [Extreme(mean, False), Extreme(mean, True)]
    if len(runs) > 1:
        extremes += [Extreme(low, False), Extreme(high, True)]
    places = kept(updates, extremes, at_most)
    return Curve(
        quantity=quantity,
        update=tuple(int(update) for update in updates[places]),
        seconds=tuple(seconds[places].tolist()),
        mean=tuple(mean[places].tolist()),
        low=tuple(low[places].tolist()),
        high=tuple(high[places].tolist()),
        measured=len(updates),
    )


def _floats(column: object) -> Floats:
    return np.frombuffer(column, dtype=np.float64)  # type: ignore[call-overload, no-any-return]


def _shared(updates: Floats, others: Floats) -> Floats:
    # Runs of one recipe are mostly measured at the same updates: finding that out is cheaper than intersecting.
    return updates if np.array_equal(updates, others) else np.intersect1d(updates, others, assume_unique=True)
