"""The numbers of a small-batch training that the rules need, from a recipe or from numbers given directly."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from lbadvisor.errors import PlanError
from lbadvisor.recipe.catalog import OPTIMIZERS
from lbadvisor.recipe.limits import MOST_COUNT, MOST_EPOCHS
from lbadvisor.running_statistics import MOMENTUM, RunningStatistics

if TYPE_CHECKING:
    from lbadvisor.recipe.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is known of the small-batch training; None: unknown, or not used.

    Lengths (`updates`, `milestones`, `warmup_updates`, `clipping_updates`, cadences) are in updates of the baseline
    batch and not yet rounded: 164 epochs of 50 000 examples at 128 are 64 062.5. `milestone_decays` are the weight
    decays that start at the milestones, None if unchanged; `milestone_distances` the weight distances at which
    milestones come early, checked every `distance_every` updates.
    """

    batch_size: int
    optimizer: str = "sgd"
    lr: float | None = None
    examples: int | None = None
    epochs: float | None = None
    updates: float | None = None
    milestones: tuple[float, ...] = ()
    milestone_decays: tuple[float | None, ...] = ()
    milestone_distances: tuple[float | None, ...] = ()
    distance_every: int = 10
    warmup_updates: float | None = None
    momentum: float | None = None
    beta1: float | None = None
    beta2: float | None = None
    epsilon: float | None = None
    weight_decay: float | None = None
    ema_decay: float | None = None
    has_batch_norm: bool = True
    ghost_batch_size: int | None = None
    batch_norm_momentum: float = MOMENTUM
    running_statistics: RunningStatistics = "sequential"
    recomputes_statistics: bool = False
    noise_ratio: float | None = None
    dropout: float = 0.0
    label_noise: float = 0.0
    drop_connect: float = 0.0
    clipping_norm: float | None = None
    clipping_updates: float | None = None
    measure_every: float | None = None
    evaluate_every: float | None = None
    checkpoint_seconds: float | None = None


def baseline_of(recipe: "Recipe") -> Baseline:
    """The baseline that `recipe` describes. Raises `PlanError` if a training elsewhere leaves unknown what it needs."""
    unknown = () if recipe.recorded is None else recipe.recorded.unknown
    lacking = [f for f in unknown if f.startswith(("optimizer.", "schedule.")) or f == "data.train_examples"]
    if lacking:
        raise PlanError(
            f"the recipe {recipe.name} does not tell {', '.join(lacking)}, which a plan needs: give it in the recipe"
        )
    examples, batch_size = recipe.data.train_examples, recipe.batch.size
    schedule, optimizer, clipping, cadence = recipe.schedule, recipe.optimizer, recipe.clipping, recipe.measurements

    def in_updates(epochs: float | None, updates: float | None) -> float | None:
        return updates if epochs is None else epochs * examples / batch_size

    updates = in_updates(schedule.epochs, schedule.updates) or 0.0
    return Baseline(
        batch_size=batch_size,
        optimizer=optimizer.name,
        lr=optimizer.lr,
        examples=examples,
        epochs=schedule.epochs or updates * batch_size / examples,
        updates=updates,
        milestones=tuple(in_updates(m.epoch, m.update) or 0.0 for m in schedule.milestones),
        milestone_decays=tuple(m.weight_decay for m in schedule.milestones),
        milestone_distances=tuple(m.distance for m in schedule.milestones),
        distance_every=schedule.distance_every_updates,
        warmup_updates=in_updates(schedule.warmup_epochs, schedule.warmup_updates),
        **{name: getattr(optimizer, name, None) for name in SETTINGS},
        ema_decay=recipe.weight_ema.decay if recipe.weight_ema else None,
        has_batch_norm=recipe.model.has_batch_norm is not False,
        ghost_batch_size=recipe.batch_norm.ghost_batch_size,
        batch_norm_momentum=recipe.batch_norm.momentum,
        running_statistics=recipe.batch_norm.running_statistics,
        recomputes_statistics=recipe.batch_norm.recompute_at_end,
        noise_ratio=recipe.gradient_noise.ratio if recipe.gradient_noise else None,
        dropout=recipe.regularization.dropout,
        label_noise=recipe.regularization.label_noise,
        drop_connect=recipe.regularization.drop_connect,
        clipping_norm=clipping.max_norm if clipping else None,
        clipping_updates=in_updates(clipping.epochs, clipping.updates) if clipping else None,
        measure_every=in_updates(cadence.every_epochs, cadence.every_updates),
        evaluate_every=in_updates(cadence.evaluate_every_epochs, cadence.evaluate_every_updates),
        checkpoint_seconds=recipe.checkpoints.every_seconds,
    )


class OptimizerSettings(TypedDict, total=False):
    """An optimizer's settings but for its learning rate; None: torch's default."""

    momentum: float | None
    beta1: float | None
    beta2: float | None
    epsilon: float | None
    weight_decay: float | None


SETTINGS = tuple(OptimizerSettings.__annotations__)


def baseline_of_numbers(
    batch_size: int,
    lr: float | None = None,
    epochs: float | None = None,
    examples: int | None = None,
    optimizer: str = "sgd",
    **settings: Unpack[OptimizerSettings],
) -> Baseline:
    """The baseline with these numbers; the optimizer's default to torch's.

    Without `examples`, `epochs` stay epochs. Raises `PlanError` for an impossible number, or one that the optimizer
    does not have.
    """
    if optimizer not in OPTIMIZERS:
        raise PlanError(f"unknown optimizer `{optimizer}`: choose from {', '.join(OPTIMIZERS)}")
    limits = {
        "batch size": (batch_size, MOST_COUNT),
        "learning rate": (lr, sys.float_info.max),
        "number of epochs": (epochs, MOST_EPOCHS),
        "number of examples": (examples, MOST_COUNT),
    }
    for name, (value, most) in limits.items():
        if value is not None and not 0 < value <= most:
            raise PlanError(f"the {name} must be above 0 and at most {most:g}, is {value:g}")
    if examples is not None and batch_size > examples:
        raise PlanError(f"the baseline batch size {batch_size} is above the {examples} training examples")
    updates = None if epochs is None or examples is None else epochs * examples / batch_size
    given: dict[str, Any] = {**settings}
    used = {name: _number(optimizer, name, given.get(name)) for name in SETTINGS}
    return Baseline(batch_size, optimizer, lr, examples, epochs, updates, **given | used)


def _number(optimizer: str, name: str, given: float | None) -> float | None:
    """The optimizer's setting `name`, by default torch's; None if it has no such setting."""
    default: float | None = getattr(OPTIMIZERS[optimizer], name)
    if given is None:
        return default
    words = name.replace("_", " ")
    if default is None:
        having = [known for known, facts in OPTIMIZERS.items() if getattr(facts, name) is not None]
        raise PlanError(f"{optimizer} has no {words}: only {', '.join(having)} do")
    if not 0 <= given <= sys.float_info.max:
        raise PlanError(f"the {words} must be at least 0, is {given:g}")
    if name in ("momentum", "beta1", "beta2") and given >= 1:
        raise PlanError(f"the {words} must be below 1, is {given:g}")
    if name == "epsilon" and given == 0:
        raise PlanError("the epsilon must be above 0, is 0")
    return given
