"""The parameter groups of a torch optimizer at the target batch size: each keeps its ratios to the baseline.

They are dictionaries, so this needs no torch. What a plan leaves in them is saved with the optimizer's state.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol

from lbadvisor.errors import PlanError, RefusedError
from lbadvisor.planning.adjustments import RELATIVE, Adjustment
from lbadvisor.recipe.catalog import OPTIMIZERS

ParameterGroup = dict[str, Any]

LR_RATIO, WEIGHT_DECAY_RATIO = "plan_lr_ratio", "plan_weight_decay_ratio"
"""Keys of a group: its rates as multiples of the plan's. A ratio of None: the group keeps its own weight decay."""

TORCH_CLASSES = {"SGD": "sgd", "Adam": "adam", "AdamW": "adamw", "RMSprop": "rmsprop", "Adagrad": "adagrad"}


class HasParameterGroups(Protocol):
    """A torch optimizer, as far as a plan needs it."""

    @property
    def param_groups(self) -> list[ParameterGroup]:
        """The groups, each with its own settings."""


def adapt(optimizer: HasParameterGroups, planned: str, lines: Sequence[Adjustment]) -> None:
    """Give every group of an optimizer made for the baseline its value at the target, by the `lines` of a plan.

    Learning rates and weight decays are multiplied, so each group keeps its ratio to the others; betas and epsilon
    become the plan's. At least one group must have the baseline's learning rate, and its weight decay if the plan
    changes that: a plan for other numbers would be another plan. Groups without weight decay stay without.
    Without a known learning rate of the baseline, every group's is multiplied.

    Raises `PlanError` for an optimizer of another kind than `planned`, or for other numbers; `RefusedError` if the plan
    was applied before, or a learning-rate schedule has already noted the old rates. Nothing is changed then.
    """
    groups, of_field = optimizer.param_groups, {line.field: line for line in lines}
    _check_unadapted(groups)
    _check_kind(optimizer, planned)
    lr, decay = of_field["optimizer.lr"], of_field.get("optimizer.weight_decay")
    if lr.unit != RELATIVE:
        _check_baseline("learning rate", "lr", lr.before, [float(group["lr"]) for group in groups])
    decays = [float(group["weight_decay"]) for group in groups]
    if (decay is not None and decay.before != decay.after) or (decay is None and OPTIMIZERS[planned].decoupled_decay):
        _check_baseline("weight decay", "weight_decay_value", decay.before if decay else 0.0, decays)
    averages = [line for line in lines if line.field in _SETTINGS and line.before is not None]
    for line in averages:
        _check_same(planned, line, groups)
    for group, old_decay in zip(groups, decays, strict=True):
        group[LR_RATIO] = float(group["lr"]) / _number(lr.before)
        put(group, "lr", _number(lr.after) * group[LR_RATIO])
        group[WEIGHT_DECAY_RATIO] = None
        if decay is not None and decay.before:
            group[WEIGHT_DECAY_RATIO] = old_decay / _number(decay.before)
            put(group, "weight_decay", _number(decay.after) * group[WEIGHT_DECAY_RATIO])
        elif decay is not None and not old_decay:
            group[WEIGHT_DECAY_RATIO] = 1.0
        for line in averages:
            _set_average(planned, group, line.field, _number(line.after))


def put(group: ParameterGroup, key: str, value: float) -> None:
    """Set a group's value, in place if it is a tensor, which a compiled or captured step keeps reading."""
    if hasattr(group[key], "fill_"):
        group[key].fill_(value)
    else:
        group[key] = value


def set_rates(groups: Sequence[ParameterGroup], lr: float, weight_decay: float) -> None:
    """Set the rates of the next update, times each group's ratios; a group without ratios gets them as they are."""
    for group in groups:
        put(group, "lr", lr * group.get(LR_RATIO, 1.0))
        ratio = group.get(WEIGHT_DECAY_RATIO, 1.0)
        if ratio is not None:
            put(group, "weight_decay", weight_decay * ratio)


def is_adapted(optimizer: HasParameterGroups) -> bool:
    """Whether a plan was applied to all of the optimizer's groups."""
    return all(LR_RATIO in group for group in optimizer.param_groups)


def _check_unadapted(groups: Sequence[ParameterGroup]) -> None:
    if any(LR_RATIO in group for group in groups):
        raise RefusedError(
            "a plan was already applied to this optimizer, or to the state it was loaded from: apply a plan once, to "
            "an optimizer made with the baseline's numbers"
        )
    if any("initial_lr" in group for group in groups):
        raise RefusedError(
            "the optimizer already has a learning-rate schedule, which would bring the old rate back: apply the plan "
            "before making the schedule"
        )


def _check_kind(optimizer: HasParameterGroups, planned: str) -> None:
    kinds = (kind for cls in type(optimizer).__mro__ if (kind := TORCH_CLASSES.get(cls.__name__)))
    kind = next(kinds, None)
    if kind == "adam" and optimizer.param_groups[0].get("decoupled_weight_decay"):
        kind = "adamw"
    if kind != planned:
        remedy = f'plan with optimizer="{kind}"' if kind else f"plans are for {', '.join(TORCH_CLASSES)}"
        raise PlanError(f"the plan is for {planned}, and the optimizer is {type(optimizer).__name__}: {remedy}")


def _check_baseline(what: str, keyword: str, planned: object, found: Sequence[float]) -> None:
    if not any(math.isclose(_number(planned), value, rel_tol=1e-9) for value in found):
        values = " and ".join(f"{value:g}" for value in dict.fromkeys(found))
        raise PlanError(
            f"no parameter group has the baseline's {what} {planned:g}: the optimizer has {values}; make it with "
            f"the baseline's numbers, or plan with the optimizer's: {keyword}="
        )


_SETTINGS = {"optimizer.beta1": "beta1", "optimizer.beta2": "beta2", "optimizer.epsilon": "epsilon"}


def _average(planned: str, group: ParameterGroup, field: str) -> float:
    if field == "optimizer.epsilon":
        return float(group["eps"])
    if planned == "rmsprop":
        return float(group["alpha"])
    return float(group["betas"][0 if field == "optimizer.beta1" else 1])


def _set_average(planned: str, group: ParameterGroup, field: str, value: float) -> None:
    if field == "optimizer.epsilon":
        group["eps"] = value
    elif planned == "rmsprop":
        group["alpha"] = value
    else:
        group["betas"] = (value, group["betas"][1]) if field == "optimizer.beta1" else (group["betas"][0], value)


def _check_same(planned: str, line: Adjustment, groups: Sequence[ParameterGroup]) -> None:
    for value in (_average(planned, group, line.field) for group in groups):
        if not math.isclose(value, _number(line.before), rel_tol=1e-9):
            name = _SETTINGS[line.field]
            raise PlanError(
                f"the optimizer's {name} is {value:g}, the plan's baseline has {line.before:g}: make the optimizer "
                f"with the baseline's numbers, or plan with {name}={value:g}"
            )


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return value
