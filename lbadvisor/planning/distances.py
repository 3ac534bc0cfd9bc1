"""The weight distances at a baseline's milestones, read from one of its runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from lbadvisor.errors import PlanError, RefusedError

if TYPE_CHECKING:
    from lbadvisor.recipe.recipe import Recipe
    from lbadvisor.records.run import Measurement, Run

DIGITS = 6
"""Significant digits of a distance: what people read, and more than two runs have in common."""


@dataclass(frozen=True, slots=True)
class Distances:
    """The weight distance at each milestone of a baseline, and the name of the run that they were read from.

    None: the milestone has none of its own, for the weights had hardly moved since those before it.
    """

    at_milestones: tuple[float | None, ...]
    run: str


def distances_of(run: "Run", measurements: Sequence["Measurement"], baseline: "Recipe") -> Distances:
    """The distances at the milestones of `baseline`, from the measurements of a run of it, in their order.

    Between two measurements the distance is taken to grow as a + b ln t (Hoffer et al. 2017, arXiv:1705.08741). A
    milestone has a distance of its own if the weights moved further since those before it than, on average, between two
    checks until the first one: a check may see a distance so much too late. Raises `PlanError` if the baseline has no
    milestones or the run was not measured around them, and `RefusedError` if it is no run of the baseline.
    """
    from lbadvisor.recipe.identity import differences
    from lbadvisor.recipe.schedule import in_updates

    schedule = in_updates(baseline).schedule
    check_milestones(baseline)
    differing = differences(run.recipe, baseline)
    if differing:
        raise RefusedError(
            f"the run `{run.name}` is no run of the baseline:\n  "
            + "\n  ".join(differing)
            + "\ngive a run of the baseline, or the distances: --set schedule.milestones[0].distance=D"
        )
    updates = [milestone.update or 0 for milestone in schedule.milestones]
    distances = [_distance_at(update, run.name, measurements) for update in updates]
    resolved = schedule.distance_every_updates * distances[0] / updates[0]
    own = [
        distance if place == 0 or distance - max(distances[:place]) > resolved else None
        for place, distance in enumerate(distances)
    ]
    return Distances(tuple(None if d is None else float(f"{d:.{DIGITS}g}") for d in own), run.name)


def check_milestones(baseline: "Recipe") -> None:
    """Raise `PlanError` if the baseline has no milestones of the learning rate."""
    schedule = baseline.schedule
    if schedule.decay != "milestones" or not schedule.milestones:
        why = "no milestones" if schedule.decay == "milestones" else f'decay = "{schedule.decay}"'
        raise PlanError(f"the schedule of {baseline.name} has {why}: nothing in it can come at a weight distance")


def check_measured(baseline: "Recipe") -> None:
    """Raise `PlanError` if runs of the baseline, as often as it measures, tell no distance at its first milestone."""
    from lbadvisor.recipe.schedule import in_updates

    check_milestones(baseline)
    recipe = in_updates(baseline)
    first = recipe.schedule.milestones[0].update or 0
    cadences = (recipe.measurements.every_updates, recipe.measurements.evaluate_every_updates)
    if not any(every is not None and every <= first for every in cadences):
        raise PlanError(
            f"{baseline.name} is not measured before its first milestone, at update {first}: --set "
            f"measurements.every_updates={max(1, first // 10)}"
        )


def _distance_at(update: int, name: str, measurements: Sequence["Measurement"]) -> float:
    from lbadvisor.records.run import told

    for left, right in pairwise(measurements):
        if left.update <= update <= right.update:
            share = math.log(update / left.update) / math.log(right.update / left.update)
            before, after = told(left.weight_distance), told(right.weight_distance)
            if math.isfinite(after - before):
                return before + share * (after - before)
    raise PlanError(
        f"the run `{name}` was not measured both before and after its milestone at update {update}: train it to its "
        "end, and measure it more often (measurements.every_updates)"
    )
