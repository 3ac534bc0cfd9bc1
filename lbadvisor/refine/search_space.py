"""What a refinement searches: the scaling exponent and, if named, other parts of the plan around the theory's values.

A point of the space is a tuple of numbers, one per dimension; the exponent is always the first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lbadvisor.errors import UsageError
from lbadvisor.planning.adjustments import Adjustment, Value
from lbadvisor.planning.plan import Plan, advise
from lbadvisor.planning.request import Request
from lbadvisor.planning.rules import rule_of_exponent
from lbadvisor.recipe.file import checked
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import scaled

Point = tuple[float, ...]

EXPONENT, STRETCH, GHOST, CLIP = "exponent", "stretch", "ghost", "clip"
FURTHER = (STRETCH, GHOST, CLIP)
"""The dimensions that are searched only if named."""
RESOLUTION = 0.01
"""Step of the exponent: at r = 32, 0.01 is 3.5% of the learning rate, which a run's noise hides."""
GHOST_DOUBLINGS = (-2, 3)
CLIP_FACTORS = (0.25, 4.0)


@dataclass(frozen=True, slots=True)
class Dimension:
    """One searched number, between `low` and `high`, with the theory's value.

    exponent: a in lr * r^a. stretch: length of the schedule in epochs, as a factor of the baseline's (r: as many
    updates; 1: as many epochs). ghost: ghost batch size in examples, the theory's times a power of 2. clip: the
    threshold of the clipping as a factor of the theory's.
    """

    name: str
    low: float
    high: float
    theory: float

    @property
    def logarithmic(self) -> bool:
        """Whether ratios matter rather than differences."""
        return self.name != EXPONENT

    def at(self, unit: float) -> float:
        """The value at a share of the range, from 0 to 1."""
        return (
            self.low * (self.high / self.low) ** unit if self.logarithmic else self.low + unit * (self.high - self.low)
        )

    def unit(self, value: float) -> float:
        """A value's share of the range, 0 at `low` and 1 at `high`."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def snapped(self, value: float) -> float:
        """The value to try for `value`: within the bounds, on a grid finer than what can be distinguished."""
        if self.name == EXPONENT:
            value = round(value / RESOLUTION) * RESOLUTION
            return min(max(round(value, 10), self.low), self.high)
        if self.name == GHOST:
            value = self.theory * 2 ** round(math.log2(value / self.theory))
        else:
            value = float(f"{value:.3g}")
        return min(max(value, self.low), self.high)


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The dimensions of a search, the exponent first."""

    dimensions: tuple[Dimension, ...]

    @property
    def theory(self) -> Point:
        """The theory's point: the square-root rule, and each part of the plan unchanged."""
        return tuple(dimension.theory for dimension in self.dimensions)

    def at(self, exponent: float) -> Point:
        """The theory's point with another exponent."""
        return (exponent, *self.theory[1:])

    def exponents(self) -> list[float]:
        """The distinguishable exponents, in order."""
        low, high = self.dimensions[0].low, self.dimensions[0].high
        return [round(low + i * RESOLUTION, 10) for i in range(round((high - low) / RESOLUTION) + 1)]

    def snapped(self, units: Sequence[float]) -> Point:
        """The point to try, from the share of each dimension's range, from 0 to 1."""
        return tuple(d.snapped(d.at(unit)) for d, unit in zip(self.dimensions, units, strict=True))

    def holds(self, point: Point) -> bool:
        """Whether the point is within the bounds."""
        return all(d.low <= value <= d.high for d, value in zip(self.dimensions, point, strict=True))


def search_space(
    baseline: Recipe, request: Request, low: float = 0.0, high: float = 1.0, also: tuple[str, ...] = ()
) -> SearchSpace:
    """The space of a refinement of `request`: exponents from `low` to `high`, and the dimensions named in `also`.

    Raises `UsageError` for the baseline's own batch size, for bounds that exclude the theory's 0.5, for an unknown
    name, and for one whose part of the plan the request does not adapt.
    """
    if not (-2 <= low < 0.5 < high <= 2):
        raise UsageError(f"exponents from {low:g} to {high:g}: give a range within -2 to 2 that contains 0.5")
    if "lr" not in request.parts:
        raise UsageError("refining searches the learning rate: --adapt must include lr")
    dimensions = [Dimension(EXPONENT, low, high, 0.5)]
    unknown = [name for name in also if name not in FURTHER]
    if unknown:
        raise UsageError(f"--also {unknown[0]}: choose from {', '.join(FURTHER)}")
    plan = advise(baseline, request)
    adapted, ratio = plan.adapted, plan.batch_ratio
    if ratio == 1:
        raise UsageError(
            f"the target batch size {request.target_batch_size} is the baseline's own: every exponent gives the same "
            "learning rate, so there is nothing to search"
        )
    if STRETCH in also:
        dimensions.append(Dimension(STRETCH, 1.0, ratio, ratio if "regime" in request.parts else 1.0))
    if GHOST in also:
        ghost = adapted.batch_norm.ghost_batch_size
        if ghost is None:
            raise UsageError(
                "--also ghost: needs ghost batches: --adapt must include ghost, and the network batch norm"
            )
        tried = [ghost * 2.0**n for n in range(GHOST_DOUBLINGS[0], GHOST_DOUBLINGS[1] + 1)]
        tried = [size for size in tried if size == int(size) and 2 <= size <= adapted.batch.size]
        if len(tried) < 2:
            raise UsageError(
                f"--also ghost: no ghost batch size other than {ghost} fits a batch of {adapted.batch.size}"
            )
        dimensions.append(Dimension(GHOST, tried[0], tried[-1], float(ghost)))
    if CLIP in also:
        if adapted.clipping is None:
            raise UsageError("--also clip: needs clipping: --adapt must include clip, and the optimizer be sgd")
        dimensions.append(Dimension(CLIP, *CLIP_FACTORS, 1.0))
    return SearchSpace(tuple(dimensions))


def plan_at(baseline: Recipe, request: Request, space: SearchSpace, point: Point) -> Plan:
    """The plan of `request` at a point of the space; lines that differ from the theory's are marked as refined.

    Raises `PlanError` and `RefusedError` like `advise`.
    """
    values = dict(zip((d.name for d in space.dimensions), point, strict=True))
    theory = dict(zip((d.name for d in space.dimensions), space.theory, strict=True))
    ghost = request.ghost_batch_size
    if GHOST in values and values[GHOST] != theory[GHOST]:
        ghost = int(values[GHOST])
    plan = advise(baseline, replace(request, lr_rule=rule_of_exponent(values[EXPONENT]), ghost_batch_size=ghost))
    recipe = plan.adapted
    changed: dict[str, Value] = {}
    if STRETCH in values:
        recipe = scaled(recipe, values[STRETCH] / theory[STRETCH])
        changed["schedule.updates"] = recipe.schedule.updates
        if recipe.schedule.milestones:
            changed["schedule.milestones"] = tuple(m.update or 0 for m in recipe.schedule.milestones)
        if recipe.schedule.warmup_updates is not None:
            changed["schedule.warmup_updates"] = recipe.schedule.warmup_updates
        if recipe.clipping is not None and recipe.clipping.updates is not None:
            changed["clipping.updates"] = recipe.clipping.updates
    if CLIP in values and recipe.clipping is not None:
        norm = recipe.clipping.max_norm * values[CLIP]
        recipe = recipe.model_copy(update={"clipping": recipe.clipping.model_copy(update={"max_norm": norm})})
        changed["clipping.max_norm"] = norm
    where = f"the plan at {point_text(space, point)}"
    return replace(
        plan,
        adapted=checked(recipe, where) if changed else recipe,
        adjustments=tuple(_refined(line, changed) for line in plan.adjustments),
    )


def point_text(space: SearchSpace, point: Point) -> str:
    """For example exponent 0.37, ghost 64."""
    return ", ".join(f"{d.name} {value:.4g}" for d, value in zip(space.dimensions, point, strict=True))


def _refined(line: Adjustment, changed: dict[str, Value]) -> Adjustment:
    if line.kind != "recipe" or line.field not in changed or changed[line.field] == line.after:
        return line
    return replace(line, after=changed[line.field], rule="refined", source="measured", validity="for this training")
