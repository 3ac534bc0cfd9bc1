"""The generalization gap between groups of runs, and how much of it is closed, each with its interval.

The gap is a difference of errors: validation error of a group minus that of the first, in points (Hoffer et al. 2017,
arXiv:1705.08741); it is positive where the group is worse. Runs of equal seeds are pairs: they share the order of their
examples and the draws of their weights.
"""

import statistics
from collections.abc import Sequence

from lbadvisor.advisor.comparison import Gap, GroupGap, RunResult
from lbadvisor.advisor.conclusion import conclusion
from lbadvisor.advisor.groups import Members
from lbadvisor.advisor.intervals import mean_interval, ratio_interval
from lbadvisor.advisor.results import accuracy_of

NO_ACCURACY = "not evaluated"
ONE_SEED = "one seed"
NO_PAIR = "no seed in common"
NO_SPREAD = "no spread between the seeds"
LEAST_WIDTH = 1e-6
"""An interval that is narrower, in points or as a share, is rounding: the seeds' differences are all equal."""
NOT_BOUNDED = "not bounded"
"""Where the naive gap's own interval holds 0, which the conclusion says."""


def gap_of(members: Sequence[Members], *, comparable: bool) -> Gap:
    """The gap of each group to the first; none is known where the runs are not `comparable` (of several data sets)."""
    naive = next((i for i, group in enumerate(members) if i > 0 and _is_naive(group, members[0])), None)
    by_seed = [_accuracies(runs) if comparable else {} for _, runs in members]
    groups = tuple(
        _group_gap(label, by_seed[0], by_seed[i], None if naive in (None, i) else by_seed[naive or 0], first=i == 0)
        for i, (label, _) in enumerate(members)
    )
    large = groups[len(groups) - 1 if naive is None else naive]
    place = None if naive is None else _closing(members, naive)
    closing = None if place is None else groups[place]
    bounded = closing is not None and closing.closed_interval is not None
    return Gap(
        points=large.points if len(groups) > 1 else None,
        points_interval=large.points_interval,
        closed_percent=None if closing is None else closing.closed_percent,
        interval=None if closing is None else closing.closed_interval,
        seeds=max(1, closing.pairs if bounded and closing is not None else large.pairs),
        naive_group=None if naive is None else groups[naive].group,
        closing_group=None if closing is None else closing.group,
        groups=groups,
        conclusion=conclusion(members, groups, naive, place, comparable=comparable),
    )


def _is_naive(members: Members, first: Members) -> bool:
    """Whether the group is of the large batch with nothing adapted, nor anything added."""
    recipe, small = members[1][0].run.recipe, first[1][0].run.recipe
    adapted = recipe.adapted_from
    bare = adapted is not None and not adapted.parts and not adapted.additions
    return bare and recipe.batch.size > small.batch.size


def _closing(members: Sequence[Members], naive: int) -> int | None:
    """The place of the group that is asked what it closes: of those with the most parts adapted, the last.

    So the paper's whole method answers, wherever controls and halves stand beside it.
    """
    others = [i for i in range(1, len(members)) if i != naive]
    return max(others, key=lambda i: (_wholeness(members[i]), i)) if others else None


def _wholeness(members: Members) -> float:
    adapted = members[1][0].run.recipe.adapted_from
    if adapted is None:
        return 0.0
    return len(adapted.parts) + (adapted.stretch_share if "regime" in adapted.parts else 0.0) - len(adapted.additions)


def _accuracies(runs: Sequence[RunResult]) -> dict[int, float]:
    """By seed."""
    known = ((result.run.seed, accuracy_of(result)) for result in runs)
    return {seed: accuracy for seed, accuracy in known if accuracy is not None}


def _group_gap(
    label: str, base: dict[int, float], own: dict[int, float], naive: dict[int, float] | None, *, first: bool
) -> GroupGap:
    if first:
        points = 0.0 if base else None
        return GroupGap(label, points, None, None, len(base), None, None, None)
    if not base or not own:
        return GroupGap(label, None, None, NO_ACCURACY, 0, None, None, None)
    seeds = [seed for seed in base if seed in own]
    if not seeds:
        points = statistics.fmean(base.values()) - statistics.fmean(own.values())
        return GroupGap(label, points, None, NO_PAIR, 0, *_closed_unpaired(base, own, naive))
    left = [base[seed] - own[seed] for seed in seeds]
    interval = mean_interval(left)
    open_because = ONE_SEED if interval is None else None
    if interval is not None and interval[1] - interval[0] < LEAST_WIDTH:
        interval, open_because = None, NO_SPREAD
    return GroupGap(label, statistics.fmean(left), interval, open_because, len(seeds), *_closed(base, own, naive))


def _closed(
    base: dict[int, float], own: dict[int, float], naive: dict[int, float] | None
) -> tuple[float | None, tuple[float, float] | None, str | None, float | None]:
    """Percent of the naive gap that is closed, its interval, why it has none, and that gap over the seeds in common."""
    if naive is None:
        return None, None, None, None
    seeds = [seed for seed in base if seed in own and seed in naive]
    if not seeds:
        return _closed_unpaired(base, own, naive)
    whole = [base[seed] - naive[seed] for seed in seeds]
    closed = [own[seed] - naive[seed] for seed in seeds]
    gap = statistics.fmean(whole)
    if gap <= 0:
        return None, None, None, None
    percent = 100 * statistics.fmean(closed) / gap
    if len(seeds) < 2:
        return percent, None, ONE_SEED, gap
    interval = ratio_interval(closed, whole)
    if interval is None:
        return percent, None, NOT_BOUNDED, gap
    if interval[1] - interval[0] < LEAST_WIDTH:
        return percent, None, NO_SPREAD, gap
    return percent, (100 * interval[0], 100 * interval[1]), None, gap


def _closed_unpaired(
    base: dict[int, float], own: dict[int, float], naive: dict[int, float] | None
) -> tuple[float | None, None, str | None, float | None]:
    if not naive:
        return None, None, None, None
    small, large, here = (statistics.fmean(group.values()) for group in (base, naive, own))
    if small <= large:
        return None, None, None, None
    return 100 * (here - large) / (small - large), None, NO_PAIR, small - large
