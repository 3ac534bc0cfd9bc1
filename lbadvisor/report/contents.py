"""What a report says, as records: the page and the picture are drawn from these and from nothing else."""

from dataclasses import dataclass

from lbadvisor.advisor.adjustments import Adjustment
from lbadvisor.advisor.caveats import Caveat
from lbadvisor.advisor.records import Environment
from lbadvisor.report.curves import GroupCurves

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Headline:
    """The answer: a number as text, what it is a number of, and the sentence on what may be concluded."""

    number: str
    caption: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Arm:
    """A group of runs in one row: final accuracy, gap to the first group in points, share of the gap closed.

    `std_points` is None for one run, the other numbers where they are not known; intervals are of 95%.
    """

    label: str
    batch_size: int
    seeds: tuple[int, ...]
    accuracy_percent: float | None
    std_points: float | None
    gap_points: float | None
    gap_interval: Interval | None
    closed_percent: float | None
    closed_interval: Interval | None


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """A plan, and the groups that were trained by it."""

    labels: tuple[str, ...]
    adjustments: tuple[Adjustment, ...]
    warnings: tuple[Caveat, ...]

    @property
    def moved(self) -> tuple[Adjustment, ...]:
        """The lines that change something."""
        return tuple(line for line in self.adjustments if line.before != line.after)

    @property
    def kept(self) -> tuple[Adjustment, ...]:
        """The lines that keep the baseline's value."""
        return tuple(line for line in self.adjustments if line.before == line.after)


@dataclass(frozen=True, slots=True)
class ChangedField:
    """A field in which the groups differ, with its value in each as text."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupRecipe:
    """How a group is trained again: its recipe as TOML, the file to save that in, and the commands."""

    label: str
    file_name: str
    toml: str
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All that a report says; `arms`, `curves` and the values of `changed` are in the order of the groups.

    `commands` make the comparison anew from the stored runs; `environments` are those of the runs, each once.
    """

    title: str
    headline: Headline
    arms: tuple[Arm, ...]
    curves: tuple[GroupCurves, ...]
    plans: tuple[GroupPlan, ...]
    changed: tuple[ChangedField, ...]
    notes: tuple[str, ...]
    recipes: tuple[GroupRecipe, ...]
    commands: tuple[str, ...]
    environments: tuple[Environment, ...]
