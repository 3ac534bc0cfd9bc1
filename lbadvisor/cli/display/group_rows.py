"""A comparison's groups as a table: accuracy, gap, share closed and step, each with its interval."""

import statistics

from lbadvisor.cli.display.table import Heading, Table
from lbadvisor.comparison.comparison import Comparison, Estimate, Group, GroupGap
from lbadvisor.records.numerals import ABSENT
from lbadvisor.records.run import RunStatus

KEPT = "*"
"""Marks an interval whose evidence survives Holm's correction."""


def group_table(comparison: Comparison, called: str) -> Table:
    """A row for each group, which the first column's title calls so: accuracy, gap, share closed and step.

    Each of the three has its interval beside it; of two groups none has a step.
    """
    above, step, kept = _meanings(comparison)
    columns = [
        Heading(called, "name"),
        Heading("runs", rank=1),
        Heading("updates", rank=5),
        Heading("accuracy, %"),
        Heading("gap, points", meaning=above),
        Heading("gap, 95% interval", rank=2, meaning=kept),
        Heading("closed"),
        Heading("closed, 95% interval"),
    ]
    if _has_steps(comparison):
        columns += [Heading("step, points", rank=3, meaning=step), Heading("step, 95% interval", rank=4, meaning=kept)]
    rows, of_run = [], {run.number: run for run in comparison.runs}
    for group, gap in zip(comparison.groups, comparison.gap.groups, strict=True):
        # Runs of one recipe differ in their length if they are scheduled by distance.
        updates = [of_run[n].updates for n in group.runs if of_run[n].status is not RunStatus.DIVERGED]
        length = f"{statistics.fmean(updates):,.0f}" if updates else ABSENT
        diverged = diverged_runs(comparison, group)
        runs = f"{len(group.runs)}" + (f", {diverged} diverged" if diverged else "")
        row = [group.label, runs, length, _accuracy_text(group), points_text(gap), _interval_text(gap.gap, "+z.2f")]
        row += [closed_text(gap), _interval_text(gap.share, "z.0f", "%")]
        if _has_steps(comparison):
            row += [_signed(gap.step), _interval_text(gap.step, "+z.2f")]
        rows.append(tuple(row))
    return Table(tuple(columns), tuple(rows))


def _meanings(comparison: Comparison) -> tuple[str, str, str]:
    """What a gap, a step and the mark mean; nothing without steps: the conclusion spells out a gap."""
    if not _has_steps(comparison):
        return "", "", ""
    tested = comparison.gap.tested
    kept = f"{KEPT}: holds after Holm's correction for {tested} comparisons" if tested > 1 else ""
    return f"gap: error above {comparison.groups[0].label}'s", "step: accuracy gained on the row above", kept


EVIDENCE_COLUMNS = (
    "closed_pairs", "gap_p_value", "gap_holm_p_value", "step_points", "step_points_low", "step_points_high",
    "step_pairs", "step_p_value", "step_holm_p_value",
)  # fmt: skip
"""The last columns of the CSV forms, in full precision."""


def evidence_values(gap: GroupGap) -> list[float | None]:
    """What stands in the `EVIDENCE_COLUMNS`; None if it is not known."""
    step = gap.step
    low, high = step.interval or (None, None)
    return [
        gap.closed_pairs, gap.p_value, gap.holm_p_value, step.value, low, high, step.seeds, step.p_value,
        step.holm_p_value,
    ]  # fmt: skip


def points_text(gap: GroupGap) -> str:
    """The gap in points, with its sign."""
    return _signed(gap.gap)


def closed_text(gap: GroupGap) -> str:
    """The share of the gap that is closed, in percent."""
    return ABSENT if gap.closed_percent is None else f"{gap.closed_percent:z.0f}%"


def diverged_runs(comparison: Comparison, group: Group) -> int:
    """How many of the group's runs diverged."""
    return sum(run.number in group.runs and run.status is RunStatus.DIVERGED for run in comparison.runs)


def _has_steps(comparison: Comparison) -> bool:
    # Of one seed each a step says nothing that the gaps do not.
    return len(comparison.groups) > 2 and any(len(group.runs) > 1 for group in comparison.groups)


def _accuracy_text(group: Group) -> str:
    accuracy = group.accuracy
    if accuracy is None:
        return ABSENT
    return f"{accuracy.mean:.2f}" + ("" if accuracy.std is None else f" ± {accuracy.std:.2f}")


def _signed(estimate: Estimate) -> str:
    return ABSENT if estimate.value is None else f"{estimate.value:+z.2f}"


def _interval_text(estimate: Estimate, digits: str, unit: str = "") -> str:
    if estimate.interval is None:
        return estimate.open or ""
    low, high = estimate.interval
    return f"{f'{KEPT} ' if estimate.holds_after_holm else ''}{low:{digits}}{unit} to {high:{digits}}{unit}"
