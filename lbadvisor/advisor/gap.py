"""The generalization gap between groups of runs, paired by seed, and what share of it is closed.

gap = validation error of a group minus that of the first one, in points (Hoffer et al. 2017, arXiv:1705.08741): it is
positive where the group is worse. Runs with the same seed begin with the same weights and, at one batch size, see the
same order of examples: what the seed does to both cancels in their difference, so gaps are taken seed by seed where two
seeds or more allow it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from lbadvisor.advisor.comparison import Group, GroupGap, RunResult
from lbadvisor.advisor.intervals import Interval, difference_interval, holds_zero, mean_interval, ratio_interval
from lbadvisor.advisor.results import accuracy_of

NOT_BOUNDED = "not bounded: the gap itself is not distinguishable from zero"


@dataclass(frozen=True, slots=True)
class _Errors:
    """A group's validation errors in percent: (seed, error) of each of its runs that was evaluated."""

    by_seed: tuple[tuple[int, float], ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(seed for seed, _ in self.by_seed)

    @property
    def values(self) -> list[float]:
        return [error for _, error in self.by_seed]

    def at(self, seed: int) -> float:
        return dict(self.by_seed)[seed]


@dataclass(frozen=True, slots=True)
class _Points:
    """A gap in points: over how many pairs of a seed (0: not paired), its interval or why there is none."""

    points: float | None
    interval: Interval | None
    open: str | None
    pairs: int


def group_gaps(
    groups: Sequence[Group], results: Sequence[Sequence[RunResult]], naive: int | None
) -> tuple[GroupGap, ...]:
    """The gap of each group to the first; `naive` is the place of the naive large batch, None where there is none."""
    errors = [_errors_of(members) for members in results]
    points = [_points(errors[0], other) for other in errors[1:]]
    gaps = [GroupGap(groups[0].label, 0.0 if errors[0].by_seed else None, None, None, 0, *_NOTHING)]
    for place, (group, found) in enumerate(zip(groups[1:], points, strict=True), 1):
        closed: tuple[float | None, Interval | None, str | None] = _NOTHING
        if naive is not None and place != naive:
            closed = _closed(errors[0], errors[naive], errors[place], points[naive - 1], found)
        gaps.append(GroupGap(group.label, found.points, found.interval, found.open, found.pairs, *closed))
    return tuple(gaps)


def shows_no_difference(gap: GroupGap) -> bool:
    """Whether the seeds are enough for an interval, and it holds 0."""
    return gap.points_interval is not None and holds_zero(gap.points_interval)


_NOTHING = (None, None, None)


def _errors_of(results: Sequence[RunResult]) -> _Errors:
    found = ((result.run.seed, accuracy_of(result.final)) for result in results)
    return _Errors(tuple((seed, 100 - accuracy) for seed, accuracy in found if accuracy is not None))


def _points(first: _Errors, other: _Errors) -> _Points:
    if not first.by_seed or not other.by_seed:
        return _Points(None, None, None, 0)
    common = [seed for seed in first.seeds if seed in other.seeds]
    paired = [other.at(seed) - first.at(seed) for seed in common]
    several = len(first.by_seed) > 1 and len(other.by_seed) > 1
    if len(common) > 1:
        return _Points(fmean(paired), mean_interval(paired), None, len(common))
    if several:
        points = fmean(other.values) - fmean(first.values)
        return _Points(points, difference_interval(other.values, first.values), None, 0)
    if common:
        return _Points(paired[0], None, "one seed", 1)
    return _Points(fmean(other.values) - fmean(first.values), None, "one seed", 0)


def _closed(
    first: _Errors, naive: _Errors, other: _Errors, whole: _Points, left: _Points
) -> tuple[float | None, Interval | None, str | None]:
    """How many percent of the naive gap `other` closes, the interval of that, or why there is none.

    Where all three groups share two seeds or more, over those; else by the gaps as they are.
    """
    common = [seed for seed in first.seeds if seed in naive.seeds and seed in other.seeds]
    if len(common) < 2:
        if whole.points is None or left.points is None or whole.points <= 0:
            return None, None, None
        why = "one seed" if "one seed" in (whole.open, left.open) else "the groups do not share two seeds"
        return _closed_percent(left.points / whole.points), None, why
    lefts = [other.at(seed) - first.at(seed) for seed in common]
    wholes = [naive.at(seed) - first.at(seed) for seed in common]
    if fmean(wholes) <= 0:
        return None, None, None
    percent = _closed_percent(fmean(lefts) / fmean(wholes))
    ratios = ratio_interval(lefts, wholes)
    if ratios is None:
        return percent, None, NOT_BOUNDED
    return percent, (_closed_percent(ratios[1]), _closed_percent(ratios[0])), None


def _closed_percent(left_of_whole: float) -> float:
    return (1 - left_of_whole) * 100
