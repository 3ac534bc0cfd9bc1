"""What is exported: a training in updates, the reasons for its values, and the devices that share a batch."""

from dataclasses import dataclass

from lbadvisor.errors import PlanError
from lbadvisor.planning.adjustments import Adjustment
from lbadvisor.planning.plan import Plan
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.records.numerals import listed, value_text

AS_IS = "as in the recipe"


@dataclass(frozen=True, slots=True)
class PlannedTraining:
    """A recipe in updates, with the plan's lines about it (none for a recipe as it is), on `devices` devices."""

    recipe: Recipe
    lines: tuple[Adjustment, ...] = ()
    devices: int = 1

    @property
    def device_batch_size(self) -> int:
        """Examples per update on each device."""
        return self.recipe.batch.size // self.devices

    @property
    def updates(self) -> int:
        """Length in updates."""
        return self.recipe.schedule.updates or 0

    @property
    def updates_per_epoch(self) -> int:
        """Updates per epoch of a loader that drops the last partial batch of each device."""
        return -(-self.recipe.data.train_examples // self.devices) // self.device_batch_size

    @property
    def final_lr(self) -> float:
        """The learning rate at the end of a decay that is a curve."""
        return self.recipe.optimizer.lr * (self.recipe.schedule.final_lr_factor or 0.0)

    @property
    def first_lr_factor(self) -> float:
        """The first update's learning rate, as a factor: below 1 with a warm-up."""
        start, length = self.recipe.schedule.warmup_lr_factor, self.recipe.schedule.warmup_updates or 1
        return start + (1 - start) / length

    @property
    def lr_factors(self) -> dict[int, float]:
        """The learning rate's milestones: from which update on, and its factor."""
        before, factors = 1.0, {}
        for milestone in self.recipe.schedule.milestones:
            if milestone.lr_factor != before:
                before = factors[milestone.update or 0] = milestone.lr_factor
        return factors

    @property
    def common_factor(self) -> float:
        """The one factor from a milestone to the next that reaches the last rate; 1 without milestones."""
        factors = [*self.lr_factors.values()]
        return round(float(factors[-1] ** (1 / len(factors))), 12) if factors else 1.0

    @property
    def title(self) -> str:
        """The recipe's name, and its batch size: old -> new."""
        name = self.recipe.adapted_from.recipe if self.recipe.adapted_from else self.recipe.name
        return f"{name} at batch size {self.recipe.batch.size:,}: {self.reason('batch.size')}"

    @property
    def warmup_reason(self) -> str:
        """Why the warm-up has its length."""
        return self.reason("schedule.warmup_updates") if self.recipe.schedule.warmup_updates else "no warm-up"

    @property
    def evaluation_reason(self) -> str:
        """Why it is evaluated as often as it is."""
        return self.reason("measurements.evaluate_every_updates")

    @property
    def batch_reason(self) -> str:
        """Why a device's batch has its size."""
        shared = f"{self.recipe.batch.size:,} / {self.devices:,} devices; in all " if self.devices > 1 else ""
        return shared + self.reason("batch.size")

    def reason(self, *fields: str) -> str:
        """Why the fields of the recipe have their values: old -> new, with rule, formula and source."""
        reasons = [_reason(next((line for line in self.lines if line.field == field), None)) for field in fields]
        if len(set(reasons)) == 1:
            return reasons[0]
        return "; ".join(f"{field.rpartition('.')[2]} {reason}" for field, reason in zip(fields, reasons, strict=True))


def _reason(line: Adjustment | None) -> str:
    if line is None:
        return AS_IS
    by = ": ".join(dict.fromkeys((line.rule, line.formula))) + f" ({line.source})"
    if line.before == line.after:
        return by if line.rule.startswith(("keep", "kept")) else f"kept, {by}"
    return f"{value_text(line.before, 'none')} -> {value_text(line.after, 'none')}, {by}"


def planned_training(plan: Plan | Recipe, devices: int = 1) -> PlannedTraining:
    """The plan's adapted training, or a recipe's as it is.

    Raises `PlanError` if the devices cannot share a batch, or the recipe says that it does not know what is exported.
    """
    recipe, lines = (plan.adapted, plan.adjustments) if isinstance(plan, Plan) else (in_updates(plan), ())
    unknown = () if recipe.recorded is None else recipe.recorded.unknown
    if exported := [field for field in unknown if field not in ("data.name", "model.name")]:
        raise PlanError(
            f"the recipe is of a training elsewhere that was recorded without {listed(exported)}: add what it had, and "
            "remove it from `unknown` in [recorded]"
        )
    if devices < 1 or recipe.batch.size % devices:
        raise PlanError(
            f"a batch of {recipe.batch.size:,} examples cannot be shared equally by {devices:,} devices: "
            "give a number of devices that divides the batch size"
        )
    return PlannedTraining(recipe, lines, devices)
