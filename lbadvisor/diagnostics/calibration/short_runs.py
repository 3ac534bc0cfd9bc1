"""Short runs of the baseline, and of the target at a few exponents, and their weight distances."""

import math
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial

from lbadvisor.diagnostics.advance import Advance
from lbadvisor.diagnostics.calibration.calibration import (
    Calibration,
    DistanceCurve,
    calibrated_windows,
    check_exponents,
    concluded,
    windows_of,
)
from lbadvisor.diagnostics.first_updates import first_updates
from lbadvisor.diagnostics.noise.gradient_moments import fresh_moments
from lbadvisor.diagnostics.noise.noise_estimate import GradientMoments
from lbadvisor.errors import UsageError
from lbadvisor.planning.batch_division import check_micro_size
from lbadvisor.planning.plan import advise
from lbadvisor.planning.request import Request
from lbadvisor.planning.rules import rule_of_exponent
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.data.dataset import Preparing
from lbadvisor.training.loop import weight_distance
from lbadvisor.training.machine import Machine
from lbadvisor.training.micro_batches import whole_batch

MOST_CHUNKS = 32


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """A baseline, the plan's request but for its exponent, and how much to run. Raises `UsageError`."""

    baseline: Recipe
    request: Request
    exponents: tuple[float, ...]
    updates: int
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        check_exponents(self.exponents)
        if "lr" not in self.request.parts:
            raise UsageError("calibrating finds the learning rate's exponent: --adapt must include lr")
        if self.request.target_batch_size <= self.baseline.batch.size:
            raise UsageError(
                f"the target batch size {self.request.target_batch_size} is not above the baseline's "
                f"{self.baseline.batch.size}, so there is nothing to match"
            )
        length = min(in_updates(self.baseline).schedule.updates or 0, target_recipe(self, 0.5).schedule.updates or 0)
        if not 1 <= self.updates <= length:
            raise UsageError(f"--updates {self.updates}: the trainings have only {length} updates")

    @property
    def chunks(self) -> int:
        """Number of baseline batches whose gradients are computed at the end of each window."""
        ratio = self.request.target_batch_size // self.baseline.batch.size
        return max(2, min(ratio, MOST_CHUNKS, self.baseline.data.train_examples // self.baseline.batch.size))

    @property
    def examples(self) -> int:
        """Examples that the calibration uses."""
        of_runs = self.baseline.batch.size + len(self.exponents) * self.request.target_batch_size
        of_gradients = len(windows_of(self.updates)) * self.chunks * self.baseline.batch.size
        return len(self.seeds) * (self.updates * of_runs + of_gradients)

    @property
    def share_percent(self) -> float:
        """The same as a share of the planned training's examples."""
        planned = target_recipe(self, 0.5)
        return 100 * self.examples / ((planned.schedule.updates or 0) * planned.batch.size)


def target_recipe(request: CalibrationRequest, exponent: float) -> Recipe:
    """The target's recipe, in updates, at an exponent."""
    return advise(request.baseline, replace(request.request, lr_rule=rule_of_exponent(exponent))).adapted


def check_calibration(machine: Machine, request: CalibrationRequest) -> None:
    """Raise `UsageError` if the machine cannot compute as the recipes say: what `calibrate` does first."""
    machine.check(target_recipe(request, request.exponents[0]))


def calibrate(machine: Machine, request: CalibrationRequest) -> Generator[Preparing | Advance, None, Calibration]:
    """Run the calibration; nothing is stored. The machine's micro-batches are the target's.

    Raises the errors of `errors.py`.
    """
    check_calibration(machine, request)
    began = time.perf_counter()
    baseline = in_updates(request.baseline)
    dataset = yield from machine.prepare(baseline)
    target = target_recipe(request, request.exponents[0])
    micro_size = machine.micro_size(partial(machine.start, target, request.seeds[0], dataset), dataset)
    windows, done = windows_of(request.updates), 0
    curves: list[DistanceCurve] = []
    moments: list[GradientMoments] = []
    for seed in request.seeds:
        for exponent in (None, *request.exponents):
            recipe = baseline if exponent is None else target_recipe(request, exponent)
            state = machine.start(recipe, seed, dataset)
            if exponent is not None and micro_size is not None:
                check_micro_size(whole_batch(recipe, state.model), micro_size)
                state.micro_size = micro_size
            distances: list[float] = []
            for update in first_updates(state, dataset, request.updates):
                done += recipe.batch.size
                if update in windows:
                    distances.append(weight_distance(state))
                    if exponent is None:
                        moments.append(fresh_moments(state, dataset, baseline.batch.size, request.chunks))
                        done += request.chunks * recipe.batch.size
                yield Advance("calibrating", done, request.examples, "examples")
            curves.append(DistanceCurve(exponent, seed, tuple(d if math.isfinite(d) else math.nan for d in distances)))
    batch_size, target_size = baseline.batch.size, request.request.target_batch_size
    found = calibrated_windows(windows, curves, moments, batch_size, target_size)
    return Calibration(
        baseline=baseline.name,
        batch_size=batch_size,
        target_batch_size=target_size,
        exponents=request.exponents,
        seeds=request.seeds,
        windows=found,
        curves=tuple(curves),
        examples=done,
        share_percent=request.share_percent,
        seconds=time.perf_counter() - began,
        conclusion=concluded(found, request.exponents, len(request.seeds)),
    )
