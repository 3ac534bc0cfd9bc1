"""A comparison as data: runs in groups, what differs, how they ended, and how much of the generalization gap is closed.

Runs that differ in nothing but the seed are one group; the first group is the baseline of every difference. What makes
a comparison is `compare.compare_runs`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from lbadvisor.comparison.intervals import CONFIDENCE, Interval
from lbadvisor.recipe.parts import Part
from lbadvisor.records.axis import Axis
from lbadvisor.records.quantities import Better
from lbadvisor.records.run import Measurement, Moment, Run, RunStatus


@dataclass(frozen=True, slots=True)
class RunResult:
    """What comparing reads of one run: a few of its measurements; None if there is none.

    `last` is the last measurement and `final` the last one with an evaluation; `best` has, by the key of each quantity
    that can be best, the first with the best finite value, if there is one; `clipped_percent` is the share of all
    updates that were clipped; `metric` is the user's own of the last evaluation, None if the recipe has none.
    """

    run: Run
    last: Measurement | None
    final: Measurement | None
    best: Mapping[str, Measurement]
    clipped_percent: float | None
    metric: float | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """A point on an axis: after so many updates, epochs, examples or seconds."""

    axis: Axis
    value: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Where each run stood at a position, in the order in which the runs were asked for.

    `measured` and `evaluated` are the last measurement, and the last with an evaluation, at or before the position;
    None if there is none, or where the run did not get that far.
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
    changed_at: Moment


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
    percent, None if no run was evaluated.
    """

    label: str
    runs: tuple[int, ...]
    seeds: tuple[int, ...]
    accuracy: Spread | None


@dataclass(frozen=True, slots=True)
class Change:
    """A field in which the runs differ: its value in each run, None if it is absent."""

    field: str
    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of every run, None if it is not known or not finite.

    `values` and `differences` are in the order of the runs, `spreads` in that of the groups. A difference is to the
    first group's run of the same seed, or to that group's mean if it has none; a run that diverged has a value, and is
    in no difference and no spread. `form` is the format that it is shown in, and is not in its JSON.
    """

    name: str
    label: str
    better: Better
    form: Annotated[str, Field(exclude=True)]
    values: tuple[int | float | None, ...]
    differences: tuple[int | float | None, ...]
    spreads: tuple[Spread | None, ...]


class Open(StrEnum):
    """Why an interval is missing, or a number with it."""

    OTHER_DATA = "other data"
    NO_ACCURACY = "no accuracy"
    DIVERGED = "diverged"
    NO_REFERENCE = "nothing to compare with"
    ONE_SEED = "one seed"
    NO_COMMON_SEED = "no seed in common"
    NO_SPREAD = "no spread between the seeds"
    NOT_BOUNDED = "not bounded"
    NO_GAP = "no gap over these seeds"
    NO_GAP_SHOWN = "no gap is shown"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the seeds say about one number: its value, its 95% interval, and why there is no interval or no value.

    `seeds` is how many it rests on: those that all groups in question have; 0 if it is made of the groups' means.
    `p_value` is the two-sided one of the paired t-test against 0, `holm_p_value` the same after Holm's correction for
    all differences of the comparison, if several were tested; both are None for a share, and without an interval.
    """

    value: float | None
    interval: Interval | None
    open: Open | None
    seeds: int
    p_value: float | None = None
    holm_p_value: float | None = None

    @property
    def sign(self) -> int:
        """1 or -1 if the whole interval lies above or below 0, else 0; also 0 without an interval."""
        low, high = self.interval or (0.0, 0.0)
        return (low > 0) - (high < 0)

    @property
    def holds_zero(self) -> bool:
        """Whether seeds that are enough to tell leave open on which side of 0 it lies."""
        open_sided = self.open in (Open.NOT_BOUNDED, Open.NO_GAP_SHOWN)
        return open_sided or (self.interval is not None and self.sign == 0)

    @property
    def holds_after_holm(self) -> bool:
        """Whether the evidence against 0 survives Holm's correction at 5%."""
        return self.holm_p_value is not None and self.holm_p_value < 1 - CONFIDENCE


@dataclass(frozen=True, slots=True)
class GroupGap:
    """How one group stands: its gap to the first, what it closes of the naive large batch's gap, and its step.

    `points` is the gap: the mean over `pairs` seeds that both groups have, or, if `pairs` is 0, the difference of the
    groups' means. `closed_percent` is a share of `closed_of_points`, the naive gap over the `closed_pairs` seeds that
    all three groups have. `step_points` is the accuracy gained on the group before: 1 is a point better. The second
    group has no step, for that would be its gap again. An interval (low, high) has a confidence of 95%; if it is None,
    `points_open`, `closed_open` or `step_open` says why in a few words. `p_value` and `holm_p_value` are the gap's. The
    properties hold the same numbers, together.
    """

    group: str
    points: float | None
    points_interval: Interval | None
    points_open: Open | None
    pairs: int
    closed_percent: float | None
    closed_interval: Interval | None
    closed_open: Open | None
    closed_of_points: float | None = None
    closed_pairs: int = 0
    p_value: float | None = None
    holm_p_value: float | None = None
    step_points: float | None = None
    step_interval: Interval | None = None
    step_open: Open | None = None
    step_pairs: int = 0
    step_p_value: float | None = None
    step_holm_p_value: float | None = None

    @property
    def gap(self) -> Estimate:
        """The gap to the first group, in points of validation error."""
        return Estimate(
            self.points, self.points_interval, self.points_open, self.pairs, self.p_value, self.holm_p_value
        )  # fmt: skip

    @property
    def share(self) -> Estimate:
        """The share of the naive gap that is closed, in percent."""
        return Estimate(self.closed_percent, self.closed_interval, self.closed_open, self.closed_pairs)

    @property
    def step(self) -> Estimate:
        """The accuracy gained on the group before, in points."""
        return Estimate(
            self.step_points, self.step_interval, self.step_open, self.step_pairs, self.step_p_value,
            self.step_holm_p_value,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gap:
    """The generalization gap, in points of validation error.

    `points` and `points_interval` are those of the naive large-batch group (adapted with no part, batch larger than
    that of the first group) if there is one, else of the last group; `closed_percent` and its `interval` are those of
    `closing_group`, the last other one of those with the most parts adapted, None if that has no meaning. `seeds` is
    how many seeds the share rests on, or the gap if there is no share: 1 if nothing is known of the spread. `tested` is
    how many differences were tested, and are corrected for. `conclusion` says in plain words what may be concluded.
    """

    points: float | None
    points_interval: Interval | None
    closed_percent: float | None
    interval: Interval | None
    seeds: int
    naive_group: str | None
    closing_group: str | None
    groups: tuple[GroupGap, ...]
    conclusion: str
    tested: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two or more runs side by side, in groups: those of the first group come first, then those of the second."""

    runs: tuple[RunSummary, ...]
    groups: tuple[Group, ...]
    changed: tuple[Change, ...]
    metrics: tuple[Metric, ...]
    gap: Gap
    notes: tuple[str, ...]
