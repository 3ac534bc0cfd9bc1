"""How long an update takes on this machine, at the baseline's batch size, at the target's and between them."""

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from scipy.stats import quantile_test

from lbadvisor.diagnostics.advance import Advance
from lbadvisor.diagnostics.first_updates import first_updates
from lbadvisor.planning.plan import Plan
from lbadvisor.planning.update_time import Ranged, TimedUpdate, UpdateTime, update_time
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Batch
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.data.dataset import Preparing
from lbadvisor.training.machine import Machine

TIMED = 20
UNTIMED = 5
"""The first updates, which also choose kernels, compile and allocate, are left out."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The measured time of an update, and the network's number of parameters."""

    time: UpdateTime
    parameters: int


def timed_recipes(plan: Plan) -> tuple[Recipe, ...]:
    """The recipes whose updates are timed: the baseline, one at the geometric mean of the batch sizes, the adapted."""
    small, large = plan.baseline.batch.size, plan.adapted.batch.size
    middle = round(math.sqrt(small * large))
    between = [plan.adapted.model_copy(update={"batch": Batch(size=middle)})] if small < middle < large else []
    return (in_updates(plan.baseline), *between, plan.adapted)


def time_updates(machine: Machine, plan: Plan, seed: int = 0) -> Generator[Preparing | Advance, None, Timing]:
    """Time 20 updates from the start of each recipe; nothing is stored.

    A size's time is the median, with its 95% interval by order statistics. Raises the errors of `errors.py`.
    """
    recipes = timed_recipes(plan)
    machine.check(plan.adapted)
    dataset = yield from machine.prepare(recipes[0])
    done, total = 0, (UNTIMED + TIMED) * sum(recipe.batch.size for recipe in recipes)
    timed: list[TimedUpdate] = []
    parameters = 0
    for recipe in recipes:
        # One update more than is made, as evaluation comes with the last.
        length = max(recipe.schedule.updates or 0, UNTIMED + TIMED + 1)
        schedule = recipe.schedule.model_copy(update={"updates": length})
        state = machine.start(recipe.model_copy(update={"schedule": schedule}), seed, dataset)
        parameters = sum(parameter.numel() for parameter in state.parameters)
        seconds: list[float] = []
        began = time.perf_counter()
        for _ in first_updates(state, dataset, UNTIMED + TIMED):
            if machine.device.type == "cuda":
                torch.cuda.synchronize(machine.device)
            seconds.append(time.perf_counter() - began)
            done += recipe.batch.size
            yield Advance("timing", done, total, "examples")
            began = time.perf_counter()
        timed.append(TimedUpdate(recipe.batch.size, median_of(seconds[UNTIMED:])))
    return Timing(update_time(timed), parameters)


def median_of(seconds: Sequence[float]) -> Ranged:
    """The median, and the interval by order statistics that holds the true one in at least 95% of the cases."""
    within = quantile_test(seconds, p=0.5).confidence_interval(0.95)
    return Ranged(median(seconds), float(within.low), float(within.high))
