"""A comparison as data: runs in groups, what differs, how they ended, and how much of the generalization gap is closed.

Runs that differ in nothing but the seed are one group; the first group is the baseline of every difference. What makes
a comparison is `compare.compare_runs`.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from lbadvisor.advisor.axis import Axis
from lbadvisor.advisor.parts import Part
from lbadvisor.advisor.records import Measurement, Run, RunStatus


class Better(StrEnum):
    """Which direction of a metric is the good one."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class RunResult:
    """What comparing reads of one run, each None where there is none: whole measurements, not all of them.

    `last` is the last measurement and `final` the last one with an evaluation; `best` and `best_loss` are the first
    with the highest finite accuracy and with the lowest finite evaluation loss; `clipped_percent` is the share of all
    updates that were clipped.
    """

    run: Run
    last: Measurement | None
    final: Measurement | None
    best: Measurement | None
    best_loss: Measurement | None
    clipped_percent: float | None


@dataclass(frozen=True, slots=True)
class Position:
    """A point on an axis: after so many updates, epochs, examples or seconds."""

    axis: Axis
    value: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Where each run stood at a position, in the order in which the runs were asked for.

    `measured` and `evaluated` are the last measurement, and the last with an evaluation, at or before the position;
    None where there is none, or where the run did not get that far.
    """

    position: Position
    measured: tuple[Measurement | None, ...]
    evaluated: tuple[Measurement | None, ...]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in one row. `parts` are the adapted ones, None for a recipe that was not adapted; accuracies are None
    before the first evaluation and where they are not finite; `seconds` is training time.
    """

    number: int
    name: str
    recipe: str
    batch_size: int
    parts: tuple[Part, ...] | None
    seed: int
    device: str
    status: RunStatus
    update: int
    updates: int
    final_accuracy_percent: float | None
    best_accuracy_percent: float | None
    seconds: float | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric over the `n` runs of a group in which it is known: mean, sample standard deviation (None below 2)."""

    n: int
    mean: float
    std: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ in nothing but the seed.

    `label` is the arm's name, else the runs' name without the seed, and unique in the comparison; `runs` holds their
    numbers and `seeds` their seeds, both in the order of `Comparison.runs`; `accuracy` is the last evaluation's, in
    percent, None where no run was evaluated.
    """

    label: str
    runs: tuple[int, ...]
    seeds: tuple[int, ...]
    accuracy: Spread | None


@dataclass(frozen=True, slots=True)
class Change:
    """A field in which the runs differ: its value in each run, None where it is absent."""

    field: str
    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of every run, None where it is not known or not finite.

    `values` and `differences` are in the order of the runs, `spreads` in that of the groups. A difference is to the
    first group's run of the same seed, to that group's mean where it has none; a run that diverged is in no spread.
    """

    name: str
    label: str
    better: Better
    values: tuple[float | None, ...]
    differences: tuple[float | None, ...]
    spreads: tuple[Spread | None, ...]


@dataclass(frozen=True, slots=True)
class GroupGap:
    """The gap of one group to the first in points, and how many percent of the naive large batch's gap it closes.

    `points_interval` and `closed_interval` are (low, high) with a confidence of 95%. `points` is the mean over `pairs`
    seeds that both groups have, or, where `pairs` is 0, the difference of the groups' means. Where an interval is None,
    `points_open` or `closed_open` says why in a few words; both are None for the first group, which has no gap.
    `closed_of_points` is the naive gap that `closed_percent` is a share of: that over the seeds which all three have.
    """

    group: str
    points: float | None
    points_interval: tuple[float, float] | None
    points_open: str | None
    pairs: int
    closed_percent: float | None
    closed_interval: tuple[float, float] | None
    closed_open: str | None
    closed_of_points: float | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """The generalization gap, in points of validation error.

    `points` and `points_interval` are those of the naive large-batch group (adapted with no part, batch larger than
    that of the first group) where there is one, else of the last group; `closed_percent` and its `interval` are those
    of `closing_group`, the last other one of those with the most parts adapted, None where that has no meaning. `seeds`
    is how many seeds stand behind `interval`, or behind `points_interval` where it is None: 1 where nothing is known of
    the spread. `conclusion` says in plain words what may be concluded.
    """

    points: float | None
    points_interval: tuple[float, float] | None
    closed_percent: float | None
    interval: tuple[float, float] | None
    seeds: int
    naive_group: str | None
    closing_group: str | None
    groups: tuple[GroupGap, ...]
    conclusion: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two or more runs side by side, in groups: those of the first group come first, then those of the second."""

    runs: tuple[RunSummary, ...]
    groups: tuple[Group, ...]
    changed: tuple[Change, ...]
    metrics: tuple[Metric, ...]
    gap: Gap
    notes: tuple[str, ...]
