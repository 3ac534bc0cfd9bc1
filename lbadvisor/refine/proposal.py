"""Which point to try next: first what the theories say, then what a Gaussian process expects the most of."""

import hashlib
import math
from collections.abc import Sequence

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from lbadvisor.advisor.refinement import Trial
from lbadvisor.advisor.search_space import EXPONENT, RESOLUTION, Point, SearchSpace
from lbadvisor.refine.estimate import cut_logarithms


def theories(space: SearchSpace) -> tuple[Point, ...]:
    """The points to begin with: the square-root rule, the linear rule and no rule, as far as the space holds them."""
    return tuple(point for exponent in (0.5, 1.0, 0.0) if space.holds(point := space.at(exponent)))


def distributions(space: SearchSpace) -> dict[str, FloatDistribution]:
    """The space as Optuna has it."""
    return {d.name: FloatDistribution(d.low, d.high, log=d.logarithmic) for d in space.dimensions}


def propose(
    space: SearchSpace,
    first: Sequence[Point],
    ended: Sequence[Trial],
    running: Sequence[Point],
    seed: int,
    floor: float = 0.0,
) -> Point:
    """A point that was not tried: the next of `first`, else by Optuna's `GPSampler`.

    A function of its arguments: a search that was broken off goes on as one that was not. The sampler is given the
    logarithms of the values (+ `floor`), the worst cut (`cut_logarithms`), and the points that other processes are at.
    """
    tried = [*(trial.point for trial in ended), *running]
    for point in first:
        if point not in tried:
            return point
    found = _sampled(space, ended, running, _sampler_seed(seed, len(tried)), floor)
    point = tuple(d.snapped(value) for d, value in zip(space.dimensions, found, strict=True))
    if point not in tried:
        return point
    return _nearest_untried(space, point, tried)


def _sampled(
    space: SearchSpace, ended: Sequence[Trial], running: Sequence[Point], sampler_seed: int, floor: float
) -> Point:
    spaces = distributions(space)
    finite = any(math.isfinite(trial.value) for trial in ended)
    logs = cut_logarithms([trial.value for trial in ended], floor) if finite else []
    sampler = optuna.samplers.GPSampler(seed=sampler_seed, n_startup_trials=1)
    # A study in memory: the shared one keeps the values as they were measured.
    study = optuna.create_study(direction="minimize", sampler=sampler)
    for trial, value in zip(ended if finite else (), logs, strict=True):
        study.add_trial(create_trial(params=named(space, trial.point), distributions=dict(spaces), value=value))
    for point in running:
        params = named(space, point)
        study.add_trial(create_trial(params=params, distributions=dict(spaces), state=TrialState.RUNNING))
    asked = study.ask(dict(spaces))
    return tuple(float(asked.params[d.name]) for d in space.dimensions)


def named(space: SearchSpace, point: Point) -> dict[str, float]:
    """The point as Optuna has it."""
    return {d.name: value for d, value in zip(space.dimensions, point, strict=True)}


def _sampler_seed(seed: int, number: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/trial/{number}".encode(), digest_size=4).digest())


def _nearest_untried(space: SearchSpace, point: Point, tried: Sequence[Point]) -> Point:
    """The same point with the nearest exponent that was not tried there; the lower one of two."""
    exponent = space.dimensions[0]
    assert exponent.name == EXPONENT
    for away in range(1, round((exponent.high - exponent.low) / RESOLUTION) + 1):
        for value in (point[0] - away * RESOLUTION, point[0] + away * RESOLUTION):
            moved = (round(value, 10), *point[1:])
            if space.holds(moved) and moved not in tried:
                return moved
    return point
