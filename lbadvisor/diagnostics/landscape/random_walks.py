"""Walks the loss along random directions from a recipe's initial weights. P parameters."""

import math
from collections.abc import Generator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from lbadvisor.diagnostics.advance import Advance
from lbadvisor.diagnostics.landscape.landscape import landscape_of, statistics_slices
from lbadvisor.diagnostics.landscape.potential import Potential, Reach, Walk, growth_of
from lbadvisor.errors import LbadvisorError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Measurements
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.data.dataset import Dataset, Preparing
from lbadvisor.training.loop import train, weight_distance
from lbadvisor.training.machine import Machine
from lbadvisor.training.memory import naming_what_fits
from lbadvisor.training.out_of_memory import naming_memory
from lbadvisor.training.seeds import generator

BINS = 12
SHORT_TRAINING = 200
"""Updates of the training that shows how far the weights go if nobody says so."""


@dataclass(frozen=True, slots=True)
class PotentialRequest:
    """A recipe, and how much of its potential to look at; without `reach`, a short training finds how far.

    Raises `UsageError` if there are fewer training examples.
    """

    recipe: Recipe
    examples: int
    seeds: tuple[int, ...]
    directions: int
    reach: Reach | None = None

    def __post_init__(self) -> None:
        statistics_slices(self.recipe, self.recipe.data.train_examples, self.examples)

    @property
    def losses(self) -> int:
        """How often the loss of all examples is computed."""
        return len(self.seeds) * self.directions * BINS

    @property
    def updates(self) -> int:
        """Updates of the short training, if there is one."""
        return 0 if self.reach is not None else min(SHORT_TRAINING, in_updates(self.recipe).schedule.updates or 0)


def probe_potential(machine: Machine, request: PotentialRequest) -> Generator[Preparing | Advance, None, Potential]:
    """Walk from the initial weights of each seed; stores nothing. Raises the errors of `errors.py`."""
    recipe = in_updates(request.recipe)
    machine.check(recipe)
    dataset = yield from machine.prepare(recipe)
    reach = request.reach
    if reach is None:
        reach = yield from _short_training(machine, recipe, request, dataset)
    distances = tuple(reach.distance * k / BINS for k in range(1, BINS + 1))
    walks: list[Walk] = []
    squares = []
    for seed in request.seeds:
        landscape = landscape_of(machine.start(recipe, seed, dataset), dataset, request.examples)
        start_P = landscape.weights_P
        with naming_memory(landscape.too_large):
            loss, gradient_P = landscape.gradient(start_P)
            squares.append(float(gradient_P.square().mean()))
            for number in range(request.directions):
                direction_P = direction(seed, number, len(start_P)).to(machine.device)
                changes = []
                for distance in distances:
                    changes.append(landscape.loss(start_P + distance * direction_P) - loss)
                    yield Advance("walking", len(walks) * BINS + len(changes), request.losses, "losses")
                walks.append(Walk(seed, tuple(changes)))
    return Potential(
        recipe=recipe.name,
        seeds=request.seeds,
        directions=request.directions,
        examples=request.examples,
        normalized_over=landscape.normalized_over,
        parameters=len(start_P),
        reach=reach,
        growth=growth_of(distances, walks, (sum(squares) / len(squares)) ** 0.5),
    )


def direction(seed: int, number: int, parameters: int) -> Tensor:
    """A unit vector, uniform on the sphere over all parameters: a Gaussian one, normalized. Float64 (P), on the CPU."""
    draws_P = torch.randn(parameters, generator=generator(seed, "direction", number), dtype=torch.float64)
    unit_P: Tensor = draws_P / draws_P.norm()
    return unit_P


def _short_training(
    machine: Machine, recipe: Recipe, request: PotentialRequest, dataset: Dataset
) -> Generator[Advance, None, Reach]:
    unmeasured = recipe.model_copy(update={"measurements": Measurements()})
    state = machine.start(unmeasured, request.seeds[0], dataset)
    for _ in naming_what_fits(islice(train(state, dataset), request.updates), state):
        yield Advance("training", state.update, request.updates, "updates")
    distance = weight_distance(state)
    if not math.isfinite(distance):
        raise LbadvisorError(f"the training of {recipe.name} diverged within {state.update} updates: give --distance")
    return Reach(distance, f"as far as {state.update} updates went")
