"""What to refine."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from lbadvisor.errors import UsageError
from lbadvisor.planning.plan import Plan
from lbadvisor.planning.request import Request
from lbadvisor.recipe.catalog import DATASETS
from lbadvisor.recipe.identity import digest_of
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import epochs_of
from lbadvisor.records.run import Measurement
from lbadvisor.refine.refinement import Measure, TrialMetric
from lbadvisor.refine.search_space import Point, SearchSpace, plan_at

PRUNING_PERCENT = 10
"""For pruning, trials are compared at multiples of this share of their schedules."""


@dataclass(frozen=True, slots=True)
class RefineRequest:
    """A baseline with validation examples, the plan's request, the space around it, and what it may cost.

    `trials` are those of the study in all, and `epochs_budget` bounds the epochs, of the large batch, that its own runs
    take in all; None: no bound. `first` are points to try before the theories'. With `prune` a trial that is worse than
    the median after the first drop of the learning rate is stopped. Raises `UsageError`.
    """

    baseline: Recipe
    request: Request
    space: SearchSpace
    trials: int
    seeds: tuple[int, ...]
    metric: TrialMetric
    epochs_budget: float | None = None
    first: tuple[Point, ...] = ()
    prune: bool = False

    def __post_init__(self) -> None:
        if self.baseline.data.validation_examples is None:
            raise UsageError("a refinement is judged on validation examples, but the recipe holds none out")
        if self.prune and not self.baseline.schedule.milestones:
            raise UsageError(
                "--prune: trials are compared after the first learning-rate drop, but the schedule has none"
            )
        price = price_epochs(self, self.space.theory)
        if self.epochs_budget is not None and self.epochs_budget < price:
            raise UsageError(
                f"an epochs budget of {self.epochs_budget:g} is too small for one trial, which takes {price:.4g} epochs"
            )

    @property
    def measure(self) -> Measure:
        """How trials are judged; the number of classes is unknown for data sets outside the catalog."""
        facts = DATASETS.get(self.baseline.data.name)
        return Measure(self.metric, self.baseline.data.validation_examples, None if facts is None else facts.classes)

    @property
    def study_name(self) -> str:
        """Derived from everything that defines a trial: the same command finds the same study again."""
        body = [digest_of(self.baseline), asdict(self.request), asdict(self.space), self.seeds, self.metric, self.prune]
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        return f"refine-{self.baseline.name[:50]}-{self.request.target_batch_size}-{digest[:6]}"


def trial_plan(request: RefineRequest, point: Point) -> Plan:
    """The plan of a point."""
    return plan_at(request.baseline, request.request, request.space, point)


def price_epochs(request: RefineRequest, point: Point) -> float:
    """Epochs that a trial of the point takes, over all its seeds."""
    recipe = trial_plan(request, point).adapted
    updates = recipe.schedule.updates or 0
    return epochs_of(updates, recipe.data.train_examples, recipe.batch.size) * len(request.seeds)


def value_of(measurement: Measurement, metric: TrialMetric) -> float | None:
    """The value of an evaluation; None without one."""
    accuracy = measurement.evaluation_accuracy_percent
    if metric == "loss":
        return measurement.evaluation_loss
    return None if accuracy is None else 100 - accuracy


def pruning_marks(recipe: Recipe) -> tuple[int, ...]:
    """Shares of the schedule, in percent, at which trials are compared: after the first learning-rate drop."""
    length, drops = recipe.schedule.updates or 0, [m.update or 0 for m in recipe.schedule.milestones if m.lr_factor < 1]
    return tuple(_marks_after(100 * min(drops) / length)) if drops else ()


def _marks_after(share_percent: float) -> Iterator[int]:
    yield from (mark for mark in range(PRUNING_PERCENT, 100, PRUNING_PERCENT) if mark > share_percent)
