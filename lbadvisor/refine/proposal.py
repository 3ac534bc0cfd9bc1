"""Which point to try next: first the theories', then where the estimate's process expects the most improvement."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from optuna.distributions import FloatDistribution
from scipy.special import ndtr
from scipy.stats import qmc

from lbadvisor.refine.evidence import Evidence, evidence
from lbadvisor.refine.process import Array, mean, moments, one_thread, process_of
from lbadvisor.refine.refinement import Measure, Trial
from lbadvisor.refine.search_space import Point, SearchSpace

CANDIDATES = 512
"""In a space of several dimensions: number of candidates besides those that differ from the best one only in their
exponent."""


def theories(space: SearchSpace) -> tuple[Point, ...]:
    """The points to start with: the square-root rule, the linear rule and no rule, if the space contains them."""
    return tuple(point for exponent in (0.5, 1.0, 0.0) if space.holds(point := space.at(exponent)))


def distributions(space: SearchSpace) -> dict[str, FloatDistribution]:
    """The space in Optuna's form."""
    return {d.name: FloatDistribution(d.low, d.high, log=d.logarithmic) for d in space.dimensions}


def named(space: SearchSpace, point: Point) -> dict[str, float]:
    """The point in Optuna's form."""
    return {d.name: value for d, value in zip(space.dimensions, point, strict=True)}


def propose(
    space: SearchSpace,
    first: Sequence[Point],
    ended: Sequence[Trial],
    running: Sequence[Point],
    measure: Measure,
    seed: int,
) -> Point | None:
    """An untried point: the next of `first`, else that of the largest expected improvement; None if all were tried.

    A function of its arguments: an interrupted search continues like an uninterrupted one. The improvement is that of a
    Gaussian process (Jones, Schonlau, Welch 1998, J. Global Optim. 13) times the probability that the exponent trains
    at all. If the value is unknown (another process is evaluating the point, or the trial was pruned), the expected one
    replaces it. Optuna's own sampler would need a value for a training that broke down.
    """
    tried = {*(trial.point for trial in ended), *running}
    for point in first:
        if point not in tried:
            return point
    found = evidence(ended, space, measure)
    if found is None:
        # Everything tried so far broke down: the smaller the learning rate, the better.
        return next((space.at(a) for a in space.exponents() if space.at(a) not in tried), None)
    unknown = [*running, *(trial.point for trial in ended if trial.outcome.pruned)]
    with one_thread():
        return _most_expected(space, found, unknown, tried, seed)


def _most_expected(
    space: SearchSpace, found: Evidence, unknown: Sequence[Point], tried: set[Point], seed: int
) -> Point | None:
    process = process_of(found, space)
    if unknown:
        believed = mean(process, unknown) * process.scale + process.centre
        found = replace(found, points=(*found.points, *unknown), logs=(*found.logs, *believed.tolist()))
        process = process_of(found, space)
    expected = mean(process, found.points)
    best = found.points[int(expected.argmin())]
    points = [p for p in _candidates(space, best, len(tried), seed) if p not in tried]
    if not points:
        return None
    weights_K, means_KQ, deviations_KQ = moments(process, points)
    below_KQ = (expected.min() - means_KQ) / deviations_KQ
    density_KQ = np.exp(-0.5 * below_KQ**2) / np.sqrt(2 * np.pi)
    improvement_Q = weights_K @ (deviations_KQ * (below_KQ * ndtr(below_KQ) + density_KQ))
    return points[int((improvement_Q * _chances(found, [point[0] for point in points])).argmax())]


def _chances(found: Evidence, exponents: Sequence[float]) -> Array:
    """The probability that training does not break down: the edge is anywhere between what did and what did not."""
    return 1 - np.searchsorted(found.edges, exponents) / len(found.edges)


def _candidates(space: SearchSpace, best: Point, number: int, seed: int) -> list[Point]:
    points = [(exponent, *best[1:]) for exponent in space.exponents()]
    if len(space.dimensions) > 1:
        draws = np.random.default_rng((seed, number))
        for unit in qmc.Sobol(len(space.dimensions), rng=draws).random(CANDIDATES):
            points.append(space.snapped(unit.tolist()))
    return list(dict.fromkeys(points))
