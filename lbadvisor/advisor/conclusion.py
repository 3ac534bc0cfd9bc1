"""What may be concluded from a comparison, in plain sentences."""

from collections.abc import Iterator, Sequence

from lbadvisor.advisor.comparison import GroupGap
from lbadvisor.advisor.groups import Members, group_of
from lbadvisor.advisor.records import RunStatus

ONE_SEED_NOISE_POINTS = 0.3
"""Differences of one seed each below this say nothing: in the paper's Table 1 the small batch itself loses to the
adapted large one by 0.24 points (Hoffer et al. 2017, ResNet44)."""


def conclusion(
    members: Sequence[Members], groups: Sequence[GroupGap], naive: int | None, closing: int | None, *, comparable: bool
) -> str:
    """The sentences, one after the other; `groups` and the places of two of them, naive and closing, are the gap's."""
    if not comparable:
        names = sorted({result.run.recipe.data.name for _, runs in members for result in runs})
        return f"No gap: the runs are of different data sets ({', '.join(names)})."
    answer = [_of_one_group(members[0])] if len(members) == 1 else _answer(groups, naive, closing)
    return " ".join([*answer, *_caveats(members, groups)])


def _of_one_group(group: Members) -> str:
    label, results = group
    spread = group_of(group).accuracy
    known = "none is evaluated"
    if spread is not None:
        deviation = "" if spread.std is None else f" ± {spread.std:.2f}"
        known = f"their accuracy is {spread.mean:.2f}{deviation}% (mean, standard deviation, of {spread.n})"
    return f"All are {label}, one recipe with {len(results)} seeds, so there is no gap: {known}."


def _answer(groups: Sequence[GroupGap], naive: int | None, closing: int | None) -> Iterator[str]:
    base, large = groups[0].group, groups[len(groups) - 1 if naive is None else naive]
    if large.points is None:
        yield f"No gap: {base} and {large.group} are not both evaluated."
        return
    yield f"{'The naive large batch ' if naive is not None else ''}{large.group} is {_against(large, base)}."
    if naive is None:
        yield "What share of a gap is closed shows once the large batch is trained with --adapt none as well."
        return
    if large.points <= 0:
        yield "There is no gap to close."
        return
    if closing is None:
        yield "No other run tries to close that gap."
        return
    other = groups[closing]
    if other.points is None or other.closed_percent is None:
        yield f"{other.group} is not evaluated, so what it closes is not known."
        return
    interval = ""
    if other.closed_interval is not None:
        low, high = other.closed_interval
        interval = f" (95% interval {low:.0f} to {high:.0f}%)"
    if other.closed_percent >= 0:
        which, of_points = "that gap", other.closed_of_points
        if of_points is not None and round(of_points, 2) != round(large.points, 2):
            which = f"the gap of {of_points:.2f} points between the runs it shares seeds with"
        yield f"{other.group} closes {other.closed_percent:.0f}% of {which}{interval}: it is {_against(other, base)}."
    else:
        yield f"{other.group} widens that gap: it is {_against(other, base)}."
    if large.pairs < 2 and large.points < ONE_SEED_NOISE_POINTS:
        yield "The gap itself is too small for that share to mean anything."
    if large.points_interval is not None and large.points_interval[0] <= 0:
        yield "The gap's own interval holds 0: whether there is one to close is not shown."


def _against(group: GroupGap, base: str) -> str:
    points = group.points or 0.0
    interval = ""
    if group.points_interval is not None:
        low, high = group.points_interval
        seen = "" if low > 0 or high < 0 else "; no difference is shown"
        interval = f" (95% interval of the gap {low:+.2f} to {high:+.2f}, {group.pairs} seeds{seen})"
    if round(points, 2) == 0:
        return f"level with {base}{interval}"
    return f"{abs(points):.2f} points {'worse' if points > 0 else 'better'} than {base}{interval}"


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
            f"{', '.join(single)}: no two seeds in common with {groups[0].group}, so nothing may be concluded there, "
            "for another seed may differ as much."
        )
