"""What may be concluded from a comparison, in plain sentences.

That a group is worse or better, and that a share of the gap is closed or added, is said if the interval leaves out 0.
If it does not, the sentence says that nothing is shown; without an interval, what was measured, and why there is none.
"""

import statistics
from collections.abc import Iterator, Sequence
from itertools import pairwise

from lbadvisor.comparison.comparison import Estimate, GroupGap, Open
from lbadvisor.comparison.groups import Members, group_of, names_of
from lbadvisor.records.numerals import listed
from lbadvisor.records.run import RunStatus

ONE_SEED_NOISE_POINTS = 0.3
"""Differences of one seed each below this say nothing: in the paper's Table 1 the small batch itself loses to the
adapted large one by 0.24 points (Hoffer et al. 2017, ResNet44)."""
MOST_CLAIMS = 8
"""More claims than these are counted and not listed: the table marks them."""


def conclusion(
    members: Sequence[Members], groups: Sequence[GroupGap], naive: int | None, closing: int | None, *, comparable: bool
) -> str:
    """The sentences, one after the other; `groups` and the places of two of them, naive and closing, are the gap's."""
    if not comparable:
        return f"No gap: the runs are of different data sets ({', '.join(names_of(members, 'data')[0])})."
    answer = [_of_one_group(members[0])] if len(members) == 1 else _answer(groups, naive, closing)
    saved = _by_distance(members, groups, naive, closing)
    return " ".join([*answer, *saved, *_after_holm(groups), *_caveats(members, groups)])


def _of_one_group(group: Members) -> str:
    label, results = group
    spread = group_of(group).accuracy
    known = "none has an accuracy"
    if spread is not None:
        deviation = "" if spread.std is None else f" ± {spread.std:.2f}"
        known = f"their accuracy is {spread.mean:.2f}{deviation}% (mean, standard deviation, of {spread.n})"
    return f"All are {label}, one recipe with {len(results)} seeds, so there is no gap: {known}."


def _answer(groups: Sequence[GroupGap], naive: int | None, closing: int | None) -> Iterator[str]:
    base, large = groups[0], groups[-1 if naive is None else naive]
    yield _against(base, large, "" if naive is None else "the naive large batch ")
    if naive is None:
        yield "What share of a gap is closed shows once the large batch is trained with --adapt none as well."
        return
    if large.gap.sign < 0:
        yield "There is no gap to close."
    elif large.points is not None and large.gap.interval is None and round(large.points, 2) <= 0:
        yield "No gap is shown."
    if closing is None:
        yield "No other run tries to close a gap."
        return
    if large.points is not None:
        yield from _closed(base.group, large, groups[closing])
    if groups[closing].points is not None:
        yield _against(base, groups[closing])


def _against(first: GroupGap, other: GroupGap, title: str = "") -> str:
    """How a group, called by its `title` and its name, stands to the first."""
    gap, base, named = other.gap, first.group, f"{title}{other.group}"
    if gap.value is None:
        return f"No gap is known: {_lack(first if gap.open is Open.NO_REFERENCE else other)}."
    points = f"{abs(gap.value):.2f} points {'worse' if gap.value > 0 else 'better'} than"
    how_sure = f"no interval: {gap.open}"
    if gap.interval is not None:
        low, high = gap.interval
        how_sure = f"95% interval of the gap {low:+z.2f} to {high:+z.2f}, {gap.seeds} seeds"
        if gap.sign == 0:
            return f"No difference between {named} and {base} is shown: a gap of {gap.value:+z.2f} points ({how_sure})."
    elif round(gap.value, 2) == 0:
        points = "level with"
    return f"{title[:1].upper()}{named[1:] if title else named} is {points} {base} ({how_sure})."


def _lack(group: GroupGap) -> str:
    """Why a group has no accuracy."""
    return f"{group.group} {'diverged' if group.points_open is Open.DIVERGED else 'has no accuracy'}"


def _closed(base: str, large: GroupGap, other: GroupGap) -> Iterator[str]:
    """What a group closes of the gap of the naive large batch, which is known."""
    share, over = other.share, _over(other.closed_pairs)
    if other.points is None:
        yield f"{_lack(other)}, so what it closes is not known."
    elif share.value is None:
        if round(large.points or 0.0, 2) > 0:
            yield f"What {other.group} closes of it is not known: {over}, {large.group} is not worse than {base}."
    else:
        gap, of_points = "that gap", other.closed_of_points or 0.0
        if round(of_points, 2) != round(large.points or 0.0, 2):
            gap = f"the gap of {of_points:.2f} points {over}"
        if share.holds_zero:
            yield f"What {other.group} closes is not shown: {share.value:z.0f}% of {gap} ({_how_sure(share, 1)})."
        elif share.value >= 0:
            yield f"{other.group} closes {share.value:.0f}% of {gap} ({_how_sure(share, 1)})."
        else:
            yield f"{other.group} widens {gap} by {-share.value:.0f}% ({_how_sure(share, -1)})."
        if large.pairs < 2 and of_points < ONE_SEED_NOISE_POINTS:
            yield "The gap itself is too small for that share to mean anything."


def _by_distance(
    members: Sequence[Members], groups: Sequence[GroupGap], naive: int | None, closing: int | None
) -> Iterator[str]:
    """How many updates each group that is scheduled by distance made, and what it closes."""
    for place, (label, results) in enumerate(members):
        runs = [result.run for result in results if result.run.status is RunStatus.COMPLETE]
        if not runs or not runs[0].recipe.schedule.is_by_distance:
            continue
        made, most = statistics.fmean(run.updates for run in runs), runs[0].recipe.schedule.updates or 0
        mean = f", mean of {len(runs)} runs" if len(runs) > 1 else ""
        fewer = f"{1 - made / most:.0%} fewer{mean}"
        yield f"By weight distance, {label} made {made:,.0f} of at most {most:,} updates ({fewer})."
        if naive not in (None, place) and place not in (0, closing) and groups[naive].points is not None:
            yield from _closed(groups[0].group, groups[naive], groups[place])


def _how_sure(share: Estimate, sign: int) -> str:
    if share.open is Open.NOT_BOUNDED:
        return f"the share has no bounded interval, because over these {share.seeds} seeds the gap itself may be 0"
    if share.interval is None:
        return f"no interval: {share.open}"
    low, high = sorted(sign * end for end in share.interval)
    return f"95% interval {low:z.0f} to {high:z.0f}%"


def _over(seeds: int) -> str:
    """Which seeds a share rests on."""
    if seeds == 0:
        return "between the means of all seeds"
    return f"over the {'one seed' if seeds == 1 else f'{seeds} seeds'} that all three have"


def _after_holm(groups: Sequence[GroupGap]) -> Iterator[str]:
    """Which differences keep their evidence for all that are tested, and which lose it."""
    tested = [one for group in groups for one in (group.gap, group.step) if one.p_value is not None]
    if len(tested) < 2:
        return
    kept, lost = _claims(groups, after_holm=True), _claims(groups, after_holm=False)
    told = sum(one.sign != 0 for one in tested)
    of_all = f"After Holm's correction for {len(tested)} comparisons"
    if told > MOST_CLAIMS:
        yield f"{of_all}, {sum(one.holds_after_holm for one in tested)} of {told} differences keep their evidence."
    elif kept:
        end = f"; the evidence {listed(lost)} is lost" if lost else ""
        yield f"{of_all}, there is still evidence {listed(kept)}{end}."
    elif lost:
        yield f"{of_all}, the evidence {listed(lost)} is lost."
    else:
        yield f"{of_all}, no difference is shown."


def _claims(groups: Sequence[GroupGap], *, after_holm: bool) -> list[str]:
    """What the intervals show and the correction leaves, or does not: "that +LR is worse than SB"."""

    def told(one: Estimate, sign: int) -> bool:
        return one.sign == sign and one.holds_after_holm is after_holm

    claims = []
    for sign, word in ((1, "worse"), (-1, "better")):
        names = [group.group for group in groups if told(group.gap, sign)]
        if names:
            claims.append(f"that {listed(names)} {'is' if len(names) == 1 else 'are'} {word} than {groups[0].group}")
    for before, group in pairwise(groups):
        for sign, word in ((1, "better"), (-1, "worse")):
            if told(group.step, sign):
                claims.append(f"that {group.group} is {word} than {before.group}")
    return claims


def _caveats(members: Sequence[Members], groups: Sequence[GroupGap]) -> Iterator[str]:
    runs = [result.run for _, results in members for result in results]
    diverged = [run.name for run in runs if run.status is RunStatus.DIVERGED]
    if diverged:
        yield f"Diverged, and in no mean: {', '.join(diverged)}."
    unfinished = [run.name for run in runs if run.status not in (RunStatus.COMPLETE, RunStatus.DIVERGED)]
    if unfinished:
        yield f"Not complete: {', '.join(unfinished)}; the numbers are those so far."
    single = [group.group for group in groups[1:] if group.points is not None and group.pairs < 2]
    if all(len(results) == 1 for _, results in members):
        yield "One seed each: nothing may be concluded, for another seed may differ as much."
    elif single:
        yield (
            f"{', '.join(single)}: no two seeds in common with {groups[0].group}, so nothing may be concluded about "
            "the gap, for another seed may differ as much."
        )
