"""The evidence in a study's trials: the measured values, and the exponent at which training breaks down.

A training that breaks down says nothing about the valley around the best exponent, however bad its value: only that
the valley ends before it. So it bounds the exponent and never enters a fit as a value. Neither does a pruned trial: its
value is that of an unfinished training.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lbadvisor.refine.refinement import Measure, Trial, noise_of_means
from lbadvisor.refine.search_space import Point, SearchSpace

CUT = 4.0
"""Values above the median by more than this many times the median's distance to the best are cut off there."""
LEAST_CUT = 1.0
"""But nothing below e times the best is cut: once most trials are at the best value, so is the median."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The points that count, and the logarithm of each one's value (+ `Measure.least`), cut, and of its seeds' values.

    `edges` are the candidates, in order, for the largest exponent that trains: from the last that did to the one before
    the first that broke down; if none did, the bound of the search. `broken` are the points that broke down.
    `least_noise` is a lower bound for the noise, as a standard deviation of the logarithms.
    """

    points: tuple[Point, ...]
    logs: tuple[float, ...]
    logs_of_seeds: tuple[tuple[float, ...], ...]
    edges: tuple[float, ...]
    broken: tuple[Point, ...]
    least_noise: float


def evidence(trials: Sequence[Trial], space: SearchSpace, measure: Measure) -> Evidence | None:
    """The evidence in the trials; None if none has a finite value.

    A trial breaks down if its value is infinite, or if it and all higher exponents' values are closer to guessing than
    to the best. Other values far above the rest are cut off (`cut_logarithms`).
    """
    ended = [trial for trial in trials if not trial.outcome.pruned]
    best = min((trial.value for trial in ended), default=math.inf)
    if not math.isfinite(best):
        return None
    worst = math.inf if measure.guessing is None else max(best, (best + measure.guessing) / 2)
    last = max(trial.point[0] for trial in ended if math.isfinite(trial.value) and trial.value <= worst)
    kept = [trial for trial in ended if math.isfinite(trial.value) and trial.point[0] <= last]
    broken = [trial.point for trial in ended if trial not in kept]
    of_seeds = tuple(tuple(math.log(value + measure.least) for value in trial.outcome.values) for trial in kept)
    beyond = min((point[0] for point in broken if point[0] > last), default=None)
    between = [] if beyond is None else [a for a in space.exponents() if last < a < beyond]
    return Evidence(
        points=tuple(trial.point for trial in kept),
        logs=tuple(cut_logarithms([trial.value + measure.least for trial in kept])),
        logs_of_seeds=of_seeds,
        edges=(space.dimensions[0].high,) if beyond is None else (last, *between),
        broken=tuple(broken),
        least_noise=_least_noise(best, of_seeds, measure),
    )


def cut_logarithms(values: Sequence[float]) -> list[float]:
    """The logarithms, with outliers cut off: they would otherwise set the scale of the valley.

    Values above both median + 4 (median - best) and best + 1, in logarithms, become the higher of the two.
    """
    logs = [math.log(value) for value in values]
    median, best = statistics.median(logs), min(logs)
    top = max(median + CUT * (median - best), best + LEAST_CUT)
    return [min(log, top) for log in logs]


def _least_noise(best: float, logs_of_seeds: Sequence[Sequence[float]], measure: Measure) -> float:
    """The runs' noise, if there are several seeds; else that of an error counted on this many examples."""
    of_runs = noise_of_means(logs_of_seeds)
    if of_runs is not None:
        return of_runs
    if measure.metric != "error" or measure.examples is None:
        return 0.0
    # A share p counted on n examples has the variance p (1 - p)/n.
    share = (best + measure.least) / 100
    return math.sqrt(max(1 - share, 0.0) / (share * measure.examples))
