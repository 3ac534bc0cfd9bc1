"""What the trials of a study tell: the values that were measured, and the exponent at which trainings break down.

A training that breaks down measures nothing of the valley that the best exponent lies in, however bad its value: it
says only that the valley ends before. So it bounds the exponent and never enters a fit as a value. A pruned trial
does not enter either: its value is that of a training half done.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lbadvisor.refine.refinement import Measure, Trial, noise_of_means
from lbadvisor.refine.search_space import Point, SearchSpace

CUT = 4.0
"""A value that is above the median by more than so many times the median's distance to the best is cut there."""
LEAST_CUT = 1.0
"""But none below e times the best: once most trials lie at the best, so does the median."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The points that count, and the logarithm of each one's value (+ `Measure.least`), cut, and of its seeds' values.

    `edges` are the exponents, in order, any of which may be the last that trains: from the last that did to the one
    before the first that broke down; if none did, the bound of the search. `broken` are the points that did.
    `least_noise` is a standard deviation of the logarithms that the noise is not below.
    """

    points: tuple[Point, ...]
    logs: tuple[float, ...]
    logs_of_seeds: tuple[tuple[float, ...], ...]
    edges: tuple[float, ...]
    broken: tuple[Point, ...]
    least_noise: float


def evidence(trials: Sequence[Trial], space: SearchSpace, measure: Measure) -> Evidence | None:
    """What the trials tell; None if none has a finite value.

    A trial breaks down if its value is infinite, or nearer to guessing than to the best and no higher exponent's is
    not. Other values far above the rest are cut (`cut_logarithms`).
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
    """The logarithm of each, the worst cut: what is far off would set the scale of the valley.

    Those above both median + 4 (median - best) and best + 1, all in logarithms, become the higher of the two.
    """
    logs = [math.log(value) for value in values]
    median, best = statistics.median(logs), min(logs)
    top = max(median + CUT * (median - best), best + LEAST_CUT)
    return [min(log, top) for log in logs]


def _least_noise(best: float, logs_of_seeds: Sequence[Sequence[float]], measure: Measure) -> float:
    """That of the runs, if there are several seeds; else that of an error counted on so many examples."""
    of_runs = noise_of_means(logs_of_seeds)
    if of_runs is not None:
        return of_runs
    if measure.metric != "error" or measure.examples is None:
        return 0.0
    # A share p counted on n examples has the variance p (1 - p)/n.
    share = (best + measure.least) / 100
    return math.sqrt(max(1 - share, 0.0) / (share * measure.examples))
