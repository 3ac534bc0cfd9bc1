"""Everything that a report is made from."""

from dataclasses import dataclass

from lbadvisor.comparison.comparison import Comparison
from lbadvisor.planning.adjustments import Adjustment
from lbadvisor.planning.caveat import Caveat
from lbadvisor.records.run import Environment
from lbadvisor.report.curves import GroupCurves


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
        """The lines that keep a value of the baseline."""
        return tuple(line for line in self.adjustments if line.before == line.after and line.before is not None)


@dataclass(frozen=True, slots=True)
class GroupRecipe:
    """How to train a group again: its recipe as TOML, the file to save it in, and the commands."""

    label: str
    file_name: str
    toml: str
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The content of a report; `curves` and `recipes` are in the order of the comparison's groups.

    `commands` reproduce the comparison; `environments` are those of the runs, each once.
    """

    title: str
    comparison: Comparison
    curves: tuple[GroupCurves, ...]
    plans: tuple[GroupPlan, ...]
    recipes: tuple[GroupRecipe, ...]
    commands: tuple[str, ...]
    environments: tuple[Environment, ...]
