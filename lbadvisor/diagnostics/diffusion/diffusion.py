"""How runs diffuse from their first weights before the learning rate first drops: Figure 2 of Hoffer et al. 2017."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lbadvisor.comparison.groups import grouped
from lbadvisor.comparison.intervals import Interval, mean_interval
from lbadvisor.diagnostics.diffusion.growth import DistanceGrowth, Law, evenly_in_ln_t, growth_of
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.records.quantities import GROUP_DISTANCE, GROUP_NORM, LEARNING_RATE, UPDATE, WEIGHT_DISTANCE
from lbadvisor.records.run import Run
from lbadvisor.store import Store

MOMENTUM_TIMES = 5
"""Updates, in units of 1 / (1 - momentum), after which momentum is at its full speed but for 1 in e^5."""


@dataclass(frozen=True, slots=True)
class LayerDiffusion:
    """The growth of one group of layers, and its share of the run's squared distance at the end.

    `norm_percent` is the part of its own squared distance that its norm's growth since the first measurement is.
    """

    part: str
    growth: DistanceGrowth
    share_percent: float
    norm_percent: float


@dataclass(frozen=True, slots=True)
class RunDiffusion:
    """The growth of one run's weight distance over the part that is fitted, and of its layers' if they were measured.

    `updates` and `distances` last until the learning rate first falls, evenly in ln t. The part that is fitted begins
    with the first update at the full rate, once momentum is at full speed.
    """

    run: int
    name: str
    seed: int
    updates: tuple[int, ...]
    distances: tuple[float, ...]
    growth: DistanceGrowth
    layers: tuple[LayerDiffusion, ...]

    @property
    def log_slope(self) -> float | None:
        """The b of a + b ln t, whatever law fits best."""
        fit = self.growth.fit(Law.LOGARITHM)
        return None if fit is None else fit.slope


@dataclass(frozen=True, slots=True)
class GroupDiffusion:
    """Runs that differ in nothing but the seed: `log_slope` is the mean of their b, `law` what all of them have.

    `recipe` is the name of the baseline; `adapted` names what a plan adapted and added, None if no plan did.
    `difference` is the mean of b minus the first group's, in pairs of one seed. The intervals are over seeds. Each is
    None if it is not known.
    """

    label: str
    recipe: str
    batch_size: int
    adapted: tuple[str, ...] | None
    batch_norm: bool
    runs: tuple[RunDiffusion, ...]
    law: Law | None
    log_slope: float | None
    log_slope_interval: Interval | None
    difference: float | None
    difference_interval: Interval | None


@dataclass(frozen=True, slots=True)
class Diffusion:
    """How the weights of groups of runs diffuse; the first group is the one that differences refer to."""

    groups: tuple[GroupDiffusion, ...]


def diffusion_of(store: Store, runs: Sequence[Run], labels: Sequence[tuple[int, str]]) -> Diffusion:
    """How the weights of the stored runs diffuse; `labels` (run's number, arm's name) name a ladder's groups."""
    groups: list[GroupDiffusion] = []
    for label, results in grouped(store.results_of([run.number for run in runs]), labels):
        groups.append(_group(store, label, [result.run for result in results], groups[0] if groups else None))
    return Diffusion(tuple(groups))


def _group(store: Store, label: str, runs: Sequence[Run], first: GroupDiffusion | None) -> GroupDiffusion:
    recipe = runs[0].recipe
    adapted = recipe.adapted_from
    found = tuple(_run(store, run) for run in runs)
    slopes = _slopes(found)
    reference = _slopes(first.runs) if first else {}
    differences = [slope - reference[seed] for seed, slope in slopes.items() if seed in reference]
    laws = {one.growth.law for one in found}
    return GroupDiffusion(
        label=label,
        recipe=recipe.name if adapted is None else adapted.recipe,
        batch_size=recipe.batch.size,
        adapted=None if adapted is None else (*adapted.parts, *adapted.additions),
        batch_norm=recipe.model.has_batch_norm is True,
        runs=found,
        law=laws.pop() if len(laws) == 1 else None,
        log_slope=statistics.fmean(slopes.values()) if slopes else None,
        log_slope_interval=mean_interval(tuple(slopes.values())),
        difference=statistics.fmean(differences) if differences else None,
        difference_interval=mean_interval(differences),
    )


def _slopes(runs: Sequence[RunDiffusion]) -> dict[int, float]:
    return {run.seed: run.log_slope for run in runs if run.log_slope is not None}


def _run(store: Store, run: Run) -> RunDiffusion:
    columns = next(iter(store.columns_of([run.number])))
    updates, rates, distances = (
        np.frombuffer(columns.of[quantity.key], dtype=np.float64)
        for quantity in (UPDATE, LEARNING_RATE, WEIGHT_DISTANCE)
    )
    full = rates >= rates.max(initial=0.0) * (1 - 1e-9)
    begun = np.cumsum(full) > 0
    shown = (np.cumsum(begun & ~full) == 0) & np.isfinite(distances)
    fitted = shown & begun & (updates >= _full_speed_update(run.recipe))
    growth = growth_of(updates[fitted], distances[fitted])
    t, d = evenly_in_ln_t(updates[shown], distances[shown])
    layers = _layers(store, run, growth)
    return RunDiffusion(run.number, run.name, run.seed, tuple(map(int, t)), tuple(map(float, d)), growth, layers)


def _full_speed_update(recipe: Recipe) -> int:
    momentum = max(getattr(recipe.optimizer, name, 0.0) for name in ("momentum", "beta1"))
    return math.ceil(MOMENTUM_TIMES / (1 - momentum) - 1e-9)


def _layers(store: Store, run: Run, growth: DistanceGrowth) -> tuple[LayerDiffusion, ...]:
    """Nothing if no layers were measured over the part that is fitted."""
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for reading in store.readings(run.number, GROUP_DISTANCE, GROUP_NORM) if growth.updates else ():
        if reading.update <= growth.updates[-1] and math.isfinite(reading.value):
            curves.setdefault(reading.part, {}).setdefault(reading.quantity, []).append((reading.update, reading.value))
    layers = []
    for part, of in curves.items():
        points = np.array([point for point in of[GROUP_DISTANCE.key] if point[0] >= growth.updates[0]]).reshape(-1, 2)
        if len(points):
            norms, square = of[GROUP_NORM.key], points[-1, 1] ** 2
            layers.append(
                LayerDiffusion(
                    part=part,
                    growth=growth_of(points[:, 0], points[:, 1]),
                    share_percent=100 * square / growth.distances[-1] ** 2,
                    norm_percent=100 * (norms[-1][1] - norms[0][1]) ** 2 / square if square else 0.0,
                )
            )
    return tuple(layers)
