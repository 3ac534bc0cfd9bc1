"""The arms of a ladder, planned for one baseline and target: what each trains, changes and costs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lbadvisor.errors import PlanError
from lbadvisor.planning.adjustments import Adjustment
from lbadvisor.planning.arms import ARMS, Arm
from lbadvisor.planning.baseline import baseline_of
from lbadvisor.planning.caveats import of_distance_signal
from lbadvisor.planning.distances import Distances, check_measured
from lbadvisor.planning.plan import Plan, advise
from lbadvisor.planning.request import Request

if TYPE_CHECKING:
    from lbadvisor.recipe.recipe import Recipe


@dataclass(frozen=True, slots=True)
class PlannedArm:
    """An arm for one baseline and target: its plan (None for the baseline itself), recipe and seeds.

    `recipe` is in updates only; the seeds are 0, 1, ..., `seeds` - 1. `asked` is what the arm's request was made of.
    """

    arm: Arm
    plan: Plan | None
    recipe: "Recipe"
    seeds: int
    asked: Request

    @property
    def awaits_distances(self) -> bool:
        """Whether the arm's recipe has no distances yet, for want of the run that tells them."""
        return self.arm.follows is not None and self.asked.distances is None

    @property
    def is_by_distance(self) -> bool:
        """Whether its runs may end before their last update."""
        return self.awaits_distances or self.recipe.schedule.is_by_distance

    @property
    def updates(self) -> int:
        """Updates of one run; by distance, the most there can be."""
        updates = self.recipe.schedule.updates
        if updates is None:
            raise ValueError("the recipe is not in updates")
        return updates

    @property
    def examples(self) -> int:
        """Examples that one run sees, counting repeats."""
        return self.updates * self.recipe.batch.size


@dataclass(frozen=True, slots=True)
class LadderRequest:
    """What to train: arms of one baseline and target, and the name of their ladder."""

    name: str
    baseline: "Recipe"
    target_batch_size: int
    arms: tuple[PlannedArm, ...]


def planned(arm: Arm, baseline: "Recipe", asked: Request, seeds: int = 1) -> PlannedArm:
    """The arm for the target and rules of `asked`. Raises like `advise`; a `PlanError` names the arm."""
    from lbadvisor.recipe.schedule import in_updates

    if arm.request is None:
        return PlannedArm(arm, None, in_updates(baseline), seeds, asked)
    try:
        if arm.follows is not None:
            check_measured(baseline)
        plan = advise(baseline, arm.request(asked))
        if arm.follows is not None and asked.distances is None:
            plan = replace(plan, warnings=(*plan.warnings, *of_distance_signal(baseline_of(baseline))))
    except PlanError as error:
        raise PlanError(f"the arm {arm.name}: {error}") from error
    return PlannedArm(arm, plan, plan.adapted, seeds, asked)


def with_distances(arm: PlannedArm, distances: Distances) -> PlannedArm:
    """The arm once its distances are known. Raises like `planned`."""
    baseline = arm.recipe if arm.plan is None else arm.plan.baseline
    return planned(arm.arm, baseline, replace(arm.asked, distances=distances), arm.seeds)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An arm that would only repeat another arm's training, and why, in words that follow its label."""

    arm: Arm
    why: str


def planned_arms(
    wanted: Sequence[tuple[Arm, int]], baseline: "Recipe", asked: Request
) -> tuple[tuple[PlannedArm, ...], tuple[LeftOut, ...]]:
    """The arms of a ladder, each with its seeds, and the skipped ones. Raises like `planned`.

    An arm is skipped if it changes nothing in the one it builds on, such as +GBN without batch norm. Raises
    `PlanError` also if there is nothing to compare.
    """
    if asked.target_batch_size == baseline.batch.size:
        raise PlanError(
            f"the target batch size {asked.target_batch_size} is the baseline's own: a ladder needs a larger one"
        )
    names = [arm.name for arm, _ in wanted]
    for arm, _ in wanted:
        if arm.follows is not None and arm.follows not in names:
            raise PlanError(
                f"the arm {arm.name} takes its distances from a run of {arm.follows}: name that arm as well"
            )
    arms, left_out = [], []
    for arm, seeds in wanted:
        why = _why_idle(arm, baseline, asked)
        if why is None:
            arms.append(planned(arm, baseline, asked, seeds))
        else:
            left_out.append(LeftOut(arm, why))
    if sum(arm.seeds for arm in arms) < 2:
        raise PlanError(
            "a ladder of one run has nothing to compare: give more arms or seeds, or `lbadvisor train ... --arm "
            f"{wanted[0][0].name}`"
        )
    return tuple(arms), tuple(left_out)


def _why_idle(arm: Arm, baseline: "Recipe", asked: Request) -> str | None:
    if arm.upon is None:
        return None
    upon = ARMS[arm.upon]
    lines = changes(planned(arm, baseline, asked).plan, planned(upon, baseline, asked).plan)
    if any(line.kind == "recipe" for line in lines):
        return None
    reason = f": {baseline.model.name} has no batch norm" if baseline.model.has_batch_norm is False else ""
    return f"changes nothing in {upon.label}{reason}"


def changes(plan: Plan | None, upon: Plan | None) -> tuple[Adjustment, ...]:
    """What `plan` changes relative to `upon`, a plan of the same baseline and target; None is the baseline itself.

    Each line's `before` is the field's value there; the adapted recipes differ in the lines of kind "recipe".
    """
    if plan is None:
        return ()
    there = {line.field: line.after for line in upon.adjustments} if upon is not None else {}
    lines = (replace(line, before=there.get(line.field, line.before)) for line in plan.adjustments)
    return tuple(line for line in lines if line.before != line.after)
