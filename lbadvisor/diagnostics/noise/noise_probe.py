"""Measures the gradient noise of a recipe: along the first updates of a training, with other examples than it sees."""

import math
from collections.abc import Generator
from dataclasses import dataclass

from lbadvisor.batch_cuts import ghost_slices
from lbadvisor.diagnostics.advance import Advance
from lbadvisor.diagnostics.calibration.calibration import default_updates
from lbadvisor.diagnostics.first_updates import first_updates
from lbadvisor.diagnostics.noise.gradient_moments import fresh_moments
from lbadvisor.diagnostics.noise.noise_estimate import GradientMoments
from lbadvisor.diagnostics.noise.noise_findings import NoiseFindings, noise_findings
from lbadvisor.errors import UsageError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.data.dataset import Preparing
from lbadvisor.training.machine import Machine

POINTS = 20
"""The noise is measured after at most so many updates of a run, evenly spaced."""
MOST_UNITS = 8
"""Of that many small batches each time."""


def default_length(recipe: Recipe, seeds: int) -> int:
    """Updates that take about 5% of the recipe's training over all seeds, from 20 to 320, or the whole training."""
    length = in_updates(recipe).schedule.updates or 0
    return min(default_updates(length, 1, seeds, math.inf), length)


@dataclass(frozen=True, slots=True)
class NoiseRequest:
    """What to measure: the first `updates` of the recipe's training with each seed. Raises `UsageError`."""

    recipe: Recipe
    target_batch_size: int | None
    updates: int
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        length = in_updates(self.recipe).schedule.updates or 0
        if not 1 <= self.updates <= length:
            raise UsageError(f"--updates {self.updates}: the training has only {length} updates")
        if self.units < 2:
            examples = self.recipe.data.train_examples
            raise UsageError(
                f"the training set's {examples} examples are fewer than two batches of {self.unit}, so their noise "
                "cannot be measured: use smaller batches, or ghosts (batch_norm.ghost_batch_size)"
            )

    @property
    def unit(self) -> int:
        """Examples of the small batch: a ghost, or the batch if it is one."""
        size, ghost = self.recipe.batch.size, self.recipe.batch_norm.ghost_batch_size
        return size if ghost is None else ghost_slices(size, ghost)[0]

    @property
    def units(self) -> int:
        """How many of them a measurement has."""
        return min(MOST_UNITS, self.recipe.data.train_examples // self.unit)

    @property
    def points(self) -> tuple[int, ...]:
        """The updates after which the noise is measured."""
        count = min(POINTS, self.updates)
        return tuple((place + 1) * self.updates // count for place in range(count))

    @property
    def examples(self) -> int:
        """Examples that this uses."""
        each = self.updates * self.recipe.batch.size + len(self.points) * self.units * self.unit
        return len(self.seeds) * each


def measure_noise(machine: Machine, request: NoiseRequest) -> Generator[Preparing | Advance, None, NoiseFindings]:
    """Measure it; nothing is stored. Raises the errors of `errors.py`."""
    recipe = in_updates(request.recipe)
    machine.check(recipe)
    dataset = yield from machine.prepare(recipe)
    moments: list[GradientMoments] = []
    done = 0
    for seed in request.seeds:
        state = machine.start(recipe, seed, dataset)
        for update in first_updates(state, dataset, request.updates):
            done += recipe.batch.size
            if update in request.points:
                moments.append(fresh_moments(state, dataset, request.unit, request.units))
                done += request.units * request.unit
            yield Advance("measuring the noise", done, request.examples, "examples")
    return noise_findings(recipe.name, recipe.batch.size, request.target_batch_size, moments, request.examples)
