"""The generalization gap between groups of runs, and how much of it is closed, each with its interval.

The gap is a difference of errors: validation error of a group minus that of the first, in points (Hoffer et al. 2017,
arXiv:1705.08741); it is positive if the group is worse. Runs of equal seeds are pairs: they share the order of their
examples and the draws of their weights. Those of runs trained elsewhere may share neither: an interval over such pairs
holds all the same.
"""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from lbadvisor.comparison.comparison import Estimate, Gap, GroupGap, Open, RunResult
from lbadvisor.comparison.conclusion import conclusion
from lbadvisor.comparison.groups import Members
from lbadvisor.comparison.intervals import mean_interval, ratio_interval
from lbadvisor.comparison.results import accuracy_of
from lbadvisor.comparison.significance import holm, p_value
from lbadvisor.records.run import RunStatus

ROUNDING = 1e-6
"""A gap, or the width of an interval, that is smaller, in points or as a share, is rounding."""

Accuracies = dict[int, float]
"""Final accuracies in percent, by seed."""

NOTHING = Estimate(None, None, None, 0)


def gap_of(members: Sequence[Members], *, comparable: bool) -> Gap:
    """The gap of each group to the first; none is known if the runs are not `comparable` (of several data sets)."""
    naive = next((i for i, group in enumerate(members) if i > 0 and _is_naive(group, members[0])), None)
    groups = _groups(members, naive) if comparable else tuple(_of_other_data(label) for label, _ in members)
    large = groups[len(groups) - 1 if naive is None else naive]
    place = None if naive is None else _closing(members, naive)
    closing = None if place is None else groups[place]
    share = NOTHING if closing is None else closing.share
    return Gap(
        points=large.points if len(groups) > 1 else None,
        points_interval=large.points_interval,
        closed_percent=share.value,
        interval=share.interval,
        seeds=max(1, large.pairs if share.value is None else share.seeds),
        naive_group=None if naive is None else groups[naive].group,
        closing_group=None if closing is None else closing.group,
        groups=groups,
        conclusion=conclusion(members, groups, naive, place, comparable=comparable),
        tested=sum(one.p_value is not None for group in groups for one in (group.gap, group.step)),
    )


def _groups(members: Sequence[Members], naive: int | None) -> tuple[GroupGap, ...]:
    accuracies = [_accuracies(runs) for _, runs in members]
    base, others = accuracies[0], accuracies[1:]
    # What one table states is one family: each group against the first, and against the one before it.
    differences = _corrected(
        [difference(own, base, sign=-1) for own in others]
        + [difference(own, before, sign=1) for before, own in pairwise(others)]
    )
    first = Estimate(0.0, None, None, len(base)) if base else Estimate(None, None, Open.NO_ACCURACY, 0)
    gaps = [first, *differences[: len(others)]]
    steps = [NOTHING, NOTHING, *differences[len(others) :]]
    shares = [
        (NOTHING, None) if naive is None or i in (0, naive) else share_closed(base, accuracies[naive], own, gaps[naive])
        for i, own in enumerate(accuracies)
    ]
    return tuple(
        GroupGap(
            group=group[0],
            points=gap.value,
            points_interval=gap.interval,
            points_open=_why(gap, group),
            pairs=gap.seeds,
            closed_percent=share.value,
            closed_interval=share.interval,
            closed_open=_why(share, group),
            closed_of_points=of_points,
            closed_pairs=share.seeds,
            p_value=gap.p_value,
            holm_p_value=gap.holm_p_value,
            step_points=step.value,
            step_interval=step.interval,
            step_open=_why(step, group),
            step_pairs=step.seeds,
            step_p_value=step.p_value,
            step_holm_p_value=step.holm_p_value,
        )
        for group, gap, (share, of_points), step in zip(members, gaps, shares, steps, strict=False)
    )


def _why(estimate: Estimate, group: Members) -> Open | None:
    """Why an estimate of the group is open: it has no accuracy, perhaps because all of its runs diverged."""
    diverged = all(result.run.status is RunStatus.DIVERGED for result in group[1])
    return Open.DIVERGED if diverged and estimate.open is Open.NO_ACCURACY else estimate.open


def _of_other_data(label: str) -> GroupGap:
    return GroupGap(label, None, None, Open.OTHER_DATA, 0, None, None, Open.OTHER_DATA)


def _is_naive(members: Members, first: Members) -> bool:
    """Whether the group is of the large batch with nothing adapted, nor anything added."""
    recipe, small = members[1][0].run.recipe, first[1][0].run.recipe
    adapted = recipe.adapted_from
    bare = adapted is not None and not adapted.parts and not adapted.additions
    return bare and recipe.batch.size > small.batch.size


def _closing(members: Sequence[Members], naive: int) -> int | None:
    """The place of the group that is asked what it closes: of those with the most parts adapted, the last.

    So the paper's whole method answers, wherever controls, halves and schedules by distance stand beside it.
    """
    others = [i for i in range(1, len(members)) if i != naive]
    return max(others, key=lambda i: (_wholeness(members[i]), i)) if others else None


def _wholeness(members: Members) -> float:
    recipe = members[1][0].run.recipe
    adapted = recipe.adapted_from
    if adapted is None:
        return 0.0
    stretched = adapted.stretch_share if "regime" in adapted.parts else 0.0
    # By distance it is the regime but for its drops, which come early: less than the whole, more than half of it.
    return len(adapted.parts) + stretched - len(adapted.additions) - 0.25 * recipe.schedule.is_by_distance


def _accuracies(runs: Sequence[RunResult]) -> dict[int, float]:
    """By seed."""
    known = ((result.run.seed, accuracy_of(result)) for result in runs)
    return {seed: accuracy for seed, accuracy in known if accuracy is not None}


def difference(own: Accuracies, reference: Accuracies, sign: int, looks: int = 1) -> Estimate:
    """The mean of what a group has more than the reference, in pairs of one seed; with a `sign` of -1, less.

    Of an interval that is looked at again as seeds are added, all `looks` hold together in 95% of cases at least.
    """
    if not own or not reference:
        return Estimate(None, None, Open.NO_REFERENCE if own else Open.NO_ACCURACY, 0)
    seeds = [seed for seed in own if seed in reference]
    if not seeds:
        means = statistics.fmean(own.values()) - statistics.fmean(reference.values())
        return Estimate(sign * means, None, Open.NO_COMMON_SEED, 0)
    differences = [sign * (own[seed] - reference[seed]) for seed in seeds]
    mean, interval = statistics.fmean(differences), mean_interval(differences, looks)
    if interval is None:
        return Estimate(mean, None, Open.ONE_SEED, 1)
    if interval[1] - interval[0] < ROUNDING:
        return Estimate(mean, None, Open.NO_SPREAD, len(seeds))
    return Estimate(mean, interval, None, len(seeds), p_value(differences))


def _corrected(differences: Sequence[Estimate]) -> list[Estimate]:
    """The same with Holm's correction for all of them that were tested; one alone needs none."""
    if sum(one.p_value is not None for one in differences) < 2:
        return list(differences)
    corrected = iter(holm([one.p_value for one in differences if one.p_value is not None]))
    return [one if one.p_value is None else replace(one, holm_p_value=next(corrected)) for one in differences]


def share_closed(
    base: Accuracies, naive: Accuracies, own: Accuracies, gap: Estimate, looks: int = 1
) -> tuple[Estimate, float | None]:
    """Percent of the naive `gap` that is closed, and that gap over the seeds which all three groups have."""
    if not base or not naive or not own:
        return Estimate(None, None, Open.NO_REFERENCE if own else Open.NO_ACCURACY, 0), None
    seeds = [seed for seed in base if seed in naive and seed in own]
    if seeds:
        whole = [base[seed] - naive[seed] for seed in seeds]
        closed = [own[seed] - naive[seed] for seed in seeds]
    else:
        small, large, here = (statistics.fmean(one.values()) for one in (base, naive, own))
        whole, closed = [small - large], [here - large]
    of_points = statistics.fmean(whole)
    if min(of_points, gap.value or 0.0) < ROUNDING:
        return Estimate(None, None, Open.NO_GAP, len(seeds)), None
    percent = 100 * statistics.fmean(closed) / of_points
    interval = ratio_interval(closed, whole, looks) if len(seeds) > 1 else None
    if interval is None and len(seeds) > 1:
        reason = Open.NOT_BOUNDED
    elif gap.holds_zero:
        # However clear it is over some of the seeds: those may be the ones with a gap by luck.
        reason = Open.NO_GAP_SHOWN
    elif interval is None:
        reason = Open.ONE_SEED if seeds else Open.NO_COMMON_SEED
    elif interval[1] - interval[0] < ROUNDING:
        reason = Open.NO_SPREAD
    else:
        return Estimate(percent, (100 * interval[0], 100 * interval[1]), None, len(seeds)), of_points
    return Estimate(percent, None, reason, len(seeds)), of_points
