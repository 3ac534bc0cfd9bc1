"""A plan's learning rate and weight decay as a torch scheduler, stepped once per update."""

import warnings
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lbadvisor.errors import PlanError, RefusedError, UsageError
from lbadvisor.planning.numbers_plan import NumbersPlan
from lbadvisor.planning.parameter_groups import LR_RATIO, is_adapted, set_rates
from lbadvisor.planning.plan import Plan
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Regularization
from lbadvisor.recipe.schedule import Rates, rates_of
from lbadvisor.recipe.schedule_tables import Schedule

if TYPE_CHECKING:
    from torch import Tensor


class PlanSchedule(LRScheduler):
    """The scheduler that `schedule` makes: torch's, whose `last_epoch` counts updates.

    It also sets the weight decay, which a recipe's milestones may change.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, lr: float, weight_decay: float) -> None:
        self._schedule, self._rates = schedule, (lr, weight_decay)
        super().__init__(optimizer)

    def get_lr(self) -> "list[float | Tensor]":
        """The learning rate of every parameter group for the next update."""
        lr = self._now().lr
        return [lr * group[LR_RATIO] for group in self.optimizer.param_groups]

    def step(self, epoch: int | None = None) -> None:
        """Set the rates of the next update; call it after `optimizer.step()`.

        Raises `UsageError` once all updates of the schedule are made.
        """
        if self.last_epoch == self._schedule.updates:
            raise UsageError(f"the plan's {self.last_epoch:,} updates are made: stop training, or plan more updates")
        super().step(epoch)
        rates = self._now()
        set_rates(self.optimizer.param_groups, rates.lr, rates.weight_decay)

    def state_dict(self) -> dict[str, Any]:
        """How many updates were made; the rest is the plan's."""
        return {"last_epoch": self.last_epoch, "_step_count": self._step_count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume from a `state_dict`, and set the rates of its next update."""
        super().load_state_dict(state_dict)
        rates = self._now()
        set_rates(self.optimizer.param_groups, rates.lr, rates.weight_decay)
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]

    def _now(self) -> Rates:
        return rates_of(self._schedule, *self._rates, self.last_epoch)


def schedule(optimizer: Optimizer, plan: NumbersPlan) -> PlanSchedule:
    """The plan's learning rate over time, for an optimizer that it was applied to: a torch `LRScheduler` in updates.

    Of a recipe it is the recipe's schedule at the target batch size, weight decays included; of numbers alone it is
    constant after the warm-up, if there is one: for another curve use a scheduler of your own, over `plan.updates`.

        >>> import lbadvisor, torch
        >>> plan = lbadvisor.plan("recipes/digits.toml", to=512)
        >>> optimizer = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
        >>> plan.apply(optimizer)
        >>> schedule = lbadvisor.schedule(optimizer, plan)
        >>> for update in range(203):  # the recipe's first milestone, at epoch 5 of batches of 32
        ...     optimizer.step()
        ...     schedule.step()
        >>> [round(lr, 6) for lr in schedule.get_last_lr()]
        [0.02]

    Warns of what the recipe also has and no scheduler can do, such as an average of the weights: do it in your loop.
    Raises `RefusedError` if the plan was not applied, and `PlanError` if its length is not known or its milestones come
    at weight distances, which only `lbadvisor.train` follows.
    """
    if not is_adapted(optimizer):
        raise RefusedError(
            "the plan was not applied to every parameter group of the optimizer: call plan.apply(optimizer) first"
        )
    if not isinstance(plan, Plan):
        return PlanSchedule(optimizer, _of_numbers(plan), _value(plan, "optimizer.lr"), _value(plan, _DECAY))
    recipe = plan.adapted
    if recipe.schedule.is_by_distance:
        raise PlanError("the plan's milestones come at weight distances, which lbadvisor.train follows: train it there")
    if left := _left_to_the_loop(recipe):
        warnings.warn(f"the recipe has {', '.join(left)}: your loop must do that itself", stacklevel=2)
    return PlanSchedule(optimizer, recipe.schedule, recipe.optimizer.lr, recipe.optimizer.weight_decay)


def _left_to_the_loop(recipe: Recipe) -> list[str]:
    """The recipe's tables and keys that `lbadvisor.train` follows, and none of the library's pieces does."""
    has = {
        "gradient_noise": recipe.gradient_noise is not None,
        "regularization": recipe.regularization != Regularization(),
        "weight_ema": recipe.weight_ema is not None,
        "batch_norm.recompute_at_end": recipe.batch_norm.recompute_at_end,
        "compute.precision": recipe.compute.precision != "float32",
    }
    return [name for name, is_there in has.items() if is_there]


_DECAY = "optimizer.weight_decay"


def _value(plan: NumbersPlan, field: str) -> float:
    """A field at the target, as a multiple of the baseline's if that is not known."""
    line = plan.line(field)
    return line.after if line is not None and isinstance(line.after, int | float) else 0.0


def _of_numbers(plan: NumbersPlan) -> Schedule:
    warmup = plan.line("schedule.warmup_updates")
    if warmup is None:
        return Schedule(updates=plan.updates)
    length = int(_value(plan, warmup.field))
    return Schedule(
        updates=plan.updates, warmup_updates=length, warmup_lr_factor=_value(plan, "schedule.warmup_lr_factor")
    )
