"""The clock of a recipe: converts epochs to updates, and gives the learning rate at an update."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import AlsoMeasured
from lbadvisor.recipe.schedule_tables import Schedule

Length = tuple[float | None, int | None]
"""A length of training: (epochs, updates), at most one of them given."""


def updates_of(epochs: float, examples: int, batch_size: int) -> int:
    """Whole updates in `epochs` passes over `examples`: round(epochs * N / B), a half to the even number."""
    return round(epochs * examples / batch_size)


def epochs_of(updates: int, examples: int, batch_size: int) -> float:
    """Passes over `examples` in `updates`: u * B / N."""
    return updates * batch_size / examples


def in_updates(recipe: Recipe) -> Recipe:
    """The same recipe with every length and cadence in updates; unchanged if it is already in updates.

    Each is at least one update. Source: the update clock of Hoffer et al. 2017 (arXiv:1705.08741): the drop at epoch 81
    of 50 000 examples at 128 is 81 * 50000/128 = 31 640.6, here 31 641; in their Figure 3 it is near 31 650.
    """

    def to_updates(length: Length) -> Length:
        epochs, updates = length
        if epochs is None:
            return None, updates
        return None, max(1, updates_of(epochs, recipe.data.train_examples, recipe.batch.size))

    recipe = _with_lengths(recipe, to_updates)
    cadence = recipe.measurements
    _, every = to_updates((cadence.every_epochs, cadence.every_updates))
    _, evaluate_every = to_updates((cadence.evaluate_every_epochs, cadence.evaluate_every_updates))
    cadence = type(cadence)(every_updates=every, evaluate_every_updates=evaluate_every, also=cadence.also)
    return recipe.model_copy(update={"measurements": cadence})


def measuring(recipe: Recipe, also: tuple[AlsoMeasured, ...]) -> Recipe:
    """The same recipe, measuring these as well, at its own cadence."""
    return recipe.model_copy(update={"measurements": recipe.measurements.model_copy(update={"also": also})})


def scaled(recipe: Recipe, factor: float) -> Recipe:
    """The recipe with its schedule made `factor` times as long: length, milestones, warm-ups; cadences stay.

    Lengths in updates are rounded, a half to the even number, and stay at least one.
    """

    def times(length: Length) -> Length:
        epochs, updates = length
        return (
            None if epochs is None else epochs * factor,
            None if updates is None else max(1, round(updates * factor)),
        )

    return _with_lengths(recipe, times)


def _with_lengths(recipe: Recipe, change: Callable[[Length], Length]) -> Recipe:
    schedule, clipping = recipe.schedule, recipe.clipping
    epochs, updates = change((schedule.epochs, schedule.updates))
    warmup_epochs, warmup_updates = change((schedule.warmup_epochs, schedule.warmup_updates))
    milestones = []
    for milestone in schedule.milestones:
        epoch, update = change((milestone.epoch, milestone.update))
        milestones.append(milestone.model_copy(update={"epoch": epoch, "update": update}))
    new: dict[str, object] = {
        "schedule": schedule.model_copy(
            update={
                "epochs": epochs,
                "updates": updates,
                "warmup_epochs": warmup_epochs,
                "warmup_updates": warmup_updates,
                "milestones": tuple(milestones),
            }
        )
    }
    if clipping is not None:
        epochs, updates = change((clipping.epochs, clipping.updates))
        new["clipping"] = clipping.model_copy(update={"epochs": epochs, "updates": updates})
    return recipe.model_copy(update=new)


@dataclass(frozen=True, slots=True)
class Rates:
    """The learning rate and weight decay of one update."""

    lr: float
    weight_decay: float


def rates_at(recipe: Recipe, update: int) -> Rates:
    """Learning rate and weight decay of update `update` (the first is 0), for a recipe in updates."""
    return rates_of(recipe.schedule, recipe.optimizer.lr, recipe.optimizer.weight_decay, update)


def rates_of(schedule: Schedule, lr: float, weight_decay: float, update: int) -> Rates:
    """The same of a schedule in updates, for its learning rate and first weight decay.

    A milestone at update m holds for the updates m, m+1, ...; that is, after m updates have been made. A warm-up is
    linear, from `warmup_lr_factor` to 1 over its updates, and multiplies whatever the decay says.
    """
    length = schedule.updates
    if length is None:
        raise ValueError("the recipe is not in updates: pass in_updates(recipe)")
    factor = 1.0
    for milestone in sorted(schedule.milestones, key=lambda m: m.update or 0):
        if milestone.update is not None and update >= milestone.update:
            factor = milestone.lr_factor
            if milestone.weight_decay is not None:
                weight_decay = milestone.weight_decay
    if schedule.decay != "milestones":
        factor = _curve(schedule.decay, schedule.final_lr_factor or 0.0, update / length)
    if schedule.warmup_updates is not None and update < schedule.warmup_updates:
        start = schedule.warmup_lr_factor
        factor *= start + (1 - start) * (update + 1) / schedule.warmup_updates
    return Rates(lr * factor, weight_decay)


def _curve(decay: str, final: float, share: float) -> float:
    if decay == "cosine":
        return float(final + (1 - final) * (1 + math.cos(math.pi * share)) / 2)
    if decay == "linear":
        return 1 - (1 - final) * share
    return float(final**share)
