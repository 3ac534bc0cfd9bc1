"""The answer that a report begins with, and the arms behind it, from a comparison."""

from dataclasses import dataclass

from lbadvisor.advisor.change_text import change_texts
from lbadvisor.advisor.comparison import Comparison, Gap, GroupGap, Spread
from lbadvisor.report import texts

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Headline:
    """The answer: a number as text, what it is a number of, and the sentence on what may be concluded."""

    number: str
    caption: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Arm:
    """A group of runs in one row; `batch_sizes` are those of its runs, each once."""

    label: str
    runs: int
    batch_sizes: tuple[int, ...]
    accuracy: Spread | None
    gap: GroupGap


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which the runs differ, with its value in each group as text: all values where a group has several."""

    field: str
    values: tuple[str, ...]


def headline_of(comparison: Comparison) -> Headline:
    """The share of the gap that is closed, else the gap itself, else that none is known."""
    gap = comparison.gap
    closing = _closing(gap)
    first = comparison.groups[0].label
    if closing is not None and closing.closed_percent is not None:
        number = f"{texts.number(closing.closed_percent, 0)}%"
        caption = f"of the generalization gap is closed by {closing.group}"
        certainty = _certainty(closing.closed_interval, closing.closed_open, "%", 0, gap.seeds)
    elif (large := _large(gap)) is not None and large.points is not None:
        number = texts.signed(large.points)
        caption = f"points: the generalization gap of {large.group} to {first}"
        certainty = _certainty(large.points_interval, large.points_open, "", 2, gap.seeds)
    else:
        return Headline(texts.ABSENT, "no generalization gap is known", gap.conclusion)
    return Headline(number, f"{caption}; {certainty}", gap.conclusion)


def _closing(gap: Gap) -> GroupGap | None:
    """The group whose share the gap's `closed_percent` is."""
    if gap.closed_percent is None:
        return None
    return next((group for group in gap.groups if group.group == gap.closing_group), None)


def _large(gap: Gap) -> GroupGap | None:
    """The group whose points the gap's are."""
    return next((group for group in gap.groups if group.group == gap.naive_group), gap.groups[-1])


def _certainty(ends: Interval | None, open_because: str | None, unit: str, digits: int, seeds: int) -> str:
    if ends is None:
        return f"no interval: {open_because}" if open_because else "no interval"
    return f"95% interval {texts.interval(ends, digits)}{unit}, {seeds} seed{'s' if seeds != 1 else ''}"


def arms_of(comparison: Comparison) -> tuple[Arm, ...]:
    """The groups of the comparison in its order."""
    batch_sizes = {run.number: run.batch_size for run in comparison.runs}
    return tuple(
        Arm(
            label=group.label,
            runs=len(group.runs),
            batch_sizes=tuple(dict.fromkeys(batch_sizes[number] for number in group.runs)),
            accuracy=group.accuracy,
            gap=gap,
        )
        for group, gap in zip(comparison.groups, comparison.gap.groups, strict=True)
    )


def differences_of(comparison: Comparison) -> tuple[Difference, ...]:
    """The fields in which the groups differ, and what differs within a group, as the seed does."""
    return tuple(
        Difference(change.field, change_texts(comparison, change, texts.ABSENT)) for change in comparison.changed
    )
