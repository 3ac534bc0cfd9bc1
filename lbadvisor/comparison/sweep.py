"""Ladders of one baseline to several target batch sizes: error and gap against the batch size.

It is Figure 1 of Hoffer et al. 2017 (arXiv:1705.08741), for each arm.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lbadvisor.comparison.comparison import Comparison, Open
from lbadvisor.comparison.intervals import CONFIDENCE, mean_interval
from lbadvisor.comparison.significance import holm
from lbadvisor.records.run import RunStatus


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One arm at one batch size: its validation error, in percent, and its gap to the first arm, in points.

    The error is the mean over the `evaluated` of its `runs`, and the gap that over `pairs` of one seed; each has a 95%
    interval over seeds, from low to high; `gap_open` says why the gap has none. `holm_p_value` is corrected for all
    gaps of the sweep. What is not known is None; the first arm has no gap.
    """

    arm: str
    batch_size: int
    runs: int
    diverged: int
    evaluated: int
    error_percent: float | None
    error_low: float | None
    error_high: float | None
    gap_points: float | None
    gap_low: float | None
    gap_high: float | None
    gap_open: Open | None
    pairs: int
    p_value: float | None
    holm_p_value: float | None

    @property
    def shows_a_gap(self) -> bool:
        """Whether there is evidence that it is worse than the first arm, after Holm's correction."""
        return self.holm_p_value is not None and self.holm_p_value < 1 - CONFIDENCE and (self.gap_points or 0.0) > 0


@dataclass(frozen=True, slots=True)
class Sweep:
    """The arms at every batch size: the first arm, `reference`, at its own, then each other over the targets.

    `naive` is the large batch with nothing adapted, None if it was not trained; `last` is the last arm.
    """

    recipe: str
    reference: str
    naive: str | None
    last: str
    points: tuple[SweepPoint, ...]

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms but for the reference, in order."""
        return tuple(dict.fromkeys(point.arm for point in self.points[1:]))

    def points_of(self, arm: str) -> tuple[SweepPoint, ...]:
        """The arm's points by batch size."""
        return tuple(sorted((p for p in self.points if p.arm == arm), key=lambda point: point.batch_size))


def sweep_of(comparisons: Sequence[Comparison]) -> Sweep:
    """The sweep of ladders that share their first arm, which is the reference of every gap."""
    points = list(_points(comparisons[0]))[:1]
    for comparison in comparisons:
        points += list(_points(comparison))[1:]
    corrected = iter(holm([point.p_value for point in points if point.p_value is not None]))
    points = [p if p.p_value is None else replace(p, holm_p_value=next(corrected)) for p in points]
    first = comparisons[0]
    return Sweep(
        recipe=first.runs[0].recipe,
        reference=first.groups[0].label,
        naive=next((one.gap.naive_group for one in comparisons if one.gap.naive_group), None),
        last=first.groups[-1].label,
        points=tuple(points),
    )


def _points(comparison: Comparison) -> Iterator[SweepPoint]:
    for group, gap in zip(comparison.groups, comparison.gap.groups, strict=True):
        runs = [run for run in comparison.runs if run.number in group.runs]
        finished = [run.final_accuracy_percent for run in runs if run.status is not RunStatus.DIVERGED]
        errors = [100 - accuracy for accuracy in finished if accuracy is not None]
        is_first = group is comparison.groups[0]
        error_low, error_high = mean_interval(errors) or (None, None)
        gap_low, gap_high = gap.points_interval or (None, None)
        yield SweepPoint(
            arm=group.label,
            batch_size=runs[0].batch_size,
            runs=len(runs),
            diverged=len(runs) - len(finished),
            evaluated=len(errors),
            error_percent=statistics.fmean(errors) if errors else None,
            error_low=error_low,
            error_high=error_high,
            gap_points=None if is_first else gap.points,
            gap_low=gap_low,
            gap_high=gap_high,
            gap_open=gap.points_open,
            pairs=0 if is_first else gap.pairs,
            p_value=gap.p_value,
            holm_p_value=None,
        )
