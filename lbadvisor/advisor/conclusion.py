"""What may be concluded from a gap, in plain sentences."""

from collections.abc import Iterator, Sequence

from lbadvisor.advisor.comparison import Group, GroupGap
from lbadvisor.advisor.gap import shows_no_difference
from lbadvisor.advisor.intervals import Interval
from lbadvisor.advisor.records import Run, RunStatus

ONE_SEED_NOISE_POINTS = 0.3
"""Differences of one seed each below this say nothing: in the paper's Table 1 the small batch itself loses to the
adapted large one by 0.24 points (Hoffer et al. 2017, ResNet44)."""


def conclusion_of(
    groups: Sequence[Group], gaps: Sequence[GroupGap], runs: Sequence[Run], *, large: int, naive: int | None
) -> str:
    """Sentences on the gaps: that of the group at `large` first, then what the last other group closes, then caveats.

    `naive` is the place of the naive large batch, None where no group is it.
    """
    if len(groups) == 1:
        sentences = [_only_seeds(groups[0])]
    else:
        others = [gap for place, gap in enumerate(gaps) if place not in (0, naive)]
        other = others[-1] if naive is not None and others else None
        sentences = [
            *_gap_sentences(gaps[0].group, gaps[large], naive is not None, other),
            *_without_difference(gaps),
        ]
    return " ".join([*sentences, *_caveats(groups, runs)])


def _only_seeds(group: Group) -> str:
    spread = group.accuracy
    known = "none is evaluated"
    if spread is not None:
        known = f"their accuracy is {spread.mean:.2f}%"
        known += "" if spread.std is None else f" ± {spread.std:.2f} (standard deviation over {spread.n} seeds)"
    return f"The runs are one recipe with {len(group.runs)} seeds, so there is no gap; {known}."


def _gap_sentences(base: str, large: GroupGap, naive: bool, other: GroupGap | None) -> Iterator[str]:
    if large.points is None:
        yield f"No gap: {base} and {large.group} are not both evaluated."
        return
    interval = _points_interval(large)
    yield f"{'The naive large batch ' if naive else ''}{large.group} is {_against(large.points)} {base}{interval}."
    if not naive:
        yield "What share of a gap is closed takes the large batch without any adaptation as well (--adapt none)."
    elif large.points <= 0:
        yield "There is no gap to close."
    elif other is None:
        yield "Nothing else here tries to close that gap."
    elif other.points is None or other.closed_percent is None:
        yield f"{other.group} is not evaluated, so what it closes is not known."
    else:
        yield f"{other.group} {_closes(other, other.closed_percent)}: it is {_against(other.points)} {base}" + (
            f"{_points_interval(other)}."
        )
        if other.closed_interval is None and other.closed_open != "one seed":
            yield f"The share has no interval: {other.closed_open}."
        elif large.points_interval is None and large.points < ONE_SEED_NOISE_POINTS:
            yield "The gap itself is too small for that share to mean anything."


def _closes(gap: GroupGap, percent: float) -> str:
    interval = "" if gap.closed_interval is None else f" ({_interval_text(gap.closed_interval, 0, '%')})"
    return f"closes {percent:.0f}% of that gap{interval}" if percent >= 0 else f"widens that gap{interval}"


def _points_interval(gap: GroupGap) -> str:
    if gap.points_interval is None:
        return ""
    low, high = gap.points_interval
    if gap.points is not None and gap.points < 0:
        # Said as "better", and so are its bounds.
        low, high = -high, -low
    over = f"{gap.pairs} seeds in pairs" if gap.pairs else "unpaired seeds"
    return f" ({_interval_text((low, high), 2)}, {over})"


def _interval_text(interval: Interval, decimals: int, unit: str = "") -> str:
    low, high = interval
    return f"95% interval {low:.{decimals}f}{unit} to {high:.{decimals}f}{unit}"


def _against(points: float) -> str:
    if round(points, 2) == 0:
        return "level with"
    return f"{abs(points):.2f} points {'worse' if points > 0 else 'better'} than"


def _without_difference(gaps: Sequence[GroupGap]) -> Iterator[str]:
    names = [gap.group for gap in gaps[1:] if shows_no_difference(gap)]
    if names:
        of = "its interval holds" if len(names) == 1 else "their intervals hold"
        yield f"No difference from {gaps[0].group} is shown for {_listed(names)}: {of} 0."


def _caveats(groups: Sequence[Group], runs: Sequence[Run]) -> Iterator[str]:
    diverged = [run.name for run in runs if run.status is RunStatus.DIVERGED]
    unfinished = [run.name for run in runs if run.status not in (RunStatus.COMPLETE, RunStatus.DIVERGED)]
    if diverged:
        yield f"Diverged: {', '.join(diverged)}; the last evaluation before that is what counts here."
    if unfinished:
        yield f"Not complete: {', '.join(unfinished)}; the numbers are those so far."
    single = [group.label for group in groups if len(group.runs) == 1]
    if len(single) == len(groups):
        yield (
            f"One seed each: differences below about {ONE_SEED_NOISE_POINTS:g} points are not evidence, and nothing "
            "may be concluded about the spread."
        )
    elif single:
        yield f"One seed only: {', '.join(single)}; nothing may be concluded about the spread there."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
