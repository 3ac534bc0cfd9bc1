"""The answer at the top of a report, and the arms behind it, from a comparison."""

from dataclasses import dataclass

from lbadvisor.comparison.change_text import change_texts
from lbadvisor.comparison.comparison import Comparison, Estimate, Spread
from lbadvisor.records.numerals import counted
from lbadvisor.report import texts


@dataclass(frozen=True, slots=True)
class Headline:
    """The answer: a number as text, what it is a number of, and the sentence on what may be concluded."""

    number: str
    caption: str
    sentence: str


@dataclass(frozen=True, slots=True)
class ArmRow:
    """A group of runs in one row; `batch_sizes` are those of its runs, each once.

    `gap`, `share` (of the naive gap that it closes) and `step` (the accuracy gained on the arm above) are `GroupGap`'s.
    """

    label: str
    runs: int
    batch_sizes: tuple[int, ...]
    accuracy: Spread | None
    gap: Estimate
    share: Estimate
    step: Estimate


@dataclass(frozen=True, slots=True)
class Difference:
    """A field in which the runs differ, with its value in each group as text: all values if a group has several."""

    field: str
    values: tuple[str, ...]


def headline_of(comparison: Comparison) -> Headline:
    """The share of the gap that is closed, or added, if one is shown; else the gap itself, else that none is known."""
    gap, first = comparison.gap, comparison.groups[0].label
    named = {group.group: group for group in gap.groups}
    closing, large = named.get(gap.closing_group or ""), named.get(gap.naive_group or "", gap.groups[-1])
    if closing is not None and closing.share.value is not None and not closing.share.holds_zero:
        share = closing.share.value
        number = f"{texts.number(abs(share), 0)}%"
        done = "is closed" if share >= 0 else "is added"
        caption = f"of the generalization gap {done} by {closing.group}; {_certainty(closing.share, '%', 0)}"
    elif large.gap.value is not None:
        number = texts.signed(large.gap.value)
        shown = ", not told from 0" if large.gap.holds_zero else ""
        caption = f"points: the generalization gap of {large.group} to {first}{shown}; {_certainty(large.gap, '', 2)}"
    else:
        return Headline(texts.ABSENT, "no generalization gap is known", gap.conclusion)
    return Headline(number, caption, gap.conclusion)


def _certainty(estimate: Estimate, unit: str, digits: int) -> str:
    if estimate.interval is None:
        return f"no interval: {estimate.open}" if estimate.open else "no interval"
    interval = f"95% interval {texts.interval(estimate.interval, digits)}{unit}"
    return f"{interval}, {counted(estimate.seeds, 'seed')}"


def arms_of(comparison: Comparison) -> tuple[ArmRow, ...]:
    """The groups of the comparison in its order."""
    batch_sizes = {run.number: run.batch_size for run in comparison.runs}
    return tuple(
        ArmRow(
            label=group.label,
            runs=len(group.runs),
            batch_sizes=tuple(dict.fromkeys(batch_sizes[number] for number in group.runs)),
            accuracy=group.accuracy,
            gap=gap.gap,
            share=gap.share,
            step=gap.step,
        )
        for group, gap in zip(comparison.groups, comparison.gap.groups, strict=True)
    )


def differences_of(comparison: Comparison) -> tuple[Difference, ...]:
    """The fields in which the groups differ, and what differs within a group, as the seed does."""
    return tuple(
        Difference(change.field, change_texts(comparison, change, texts.ABSENT)) for change in comparison.changed
    )
