"""Estimates the best exponent, with its uncertainty, from the values of a few trials. S samples, Q places."""

from collections.abc import Sequence

import numpy as np

from lbadvisor.refine.evidence import Evidence, evidence
from lbadvisor.refine.process import Array, mean, one_thread, process_of, samples
from lbadvisor.refine.refinement import CurvePoint, ExponentEstimate, Measure, PairedGain, Trial, paired_gain
from lbadvisor.refine.search_space import Point, SearchSpace

SAMPLES = 4000
FEWEST = 3


def estimate(trials: Sequence[Trial], space: SearchSpace, measure: Measure, seed: int = 0) -> ExponentEstimate | None:
    """The best exponent with its interval, the trial to choose, and its gain; None for fewer than three that count.

    A trial that broke down bounds the exponent, and a pruned one does not count (`evidence`).
    """
    found = evidence(trials, space, measure)
    if found is None or len(found.points) < FEWEST:
        return None
    with one_thread():
        return _estimated(found, space, measure, np.random.default_rng(seed))


def paired(trials: Sequence[Trial], space: SearchSpace, measure: Measure, chosen: Point) -> PairedGain | None:
    """The chosen point's gain over the theory's, from paired seeds alone; None for one seed or the theory's point."""
    found = evidence(trials, space, measure)
    if found is None:
        return None
    of_points = dict(zip(found.points, found.logs_of_seeds, strict=True))
    if space.theory not in of_points or chosen not in of_points:
        return None
    return paired_gain(of_points[space.theory], of_points[chosen], list(of_points.values()))


def _estimated(found: Evidence, space: SearchSpace, measure: Measure, rng: np.random.Generator) -> ExponentEstimate:
    process = process_of(found, space)
    tried = list(dict.fromkeys(found.points))
    chosen = tried[int(mean(process, tried).argmin())]
    grid = [exponent for exponent in space.exponents() if exponent <= found.edges[-1]]
    points = [(exponent, *chosen[1:]) for exponent in grid]
    samples_SQ = samples(process, [*points, chosen, space.theory], SAMPLES, rng)
    values_SQ = np.exp(samples_SQ * process.scale + process.centre) - measure.least
    best_S = _best(samples_SQ[:, : len(grid)], np.array(grid), found, rng)
    # Any trial that trains beats a theory that breaks down.
    fails = space.theory in found.broken or space.theory[0] > found.edges[-1]
    low, high = np.quantile(best_S, [0.025, 0.975])
    gains = [np.inf] * 3 if fails else np.quantile(values_SQ[:, -1] - values_SQ[:, -2], [0.025, 0.5, 0.975])
    gain_low, gain, gain_high = map(float, gains)
    curve = np.quantile(values_SQ[:, : len(grid)], [0.025, 0.5, 0.975], axis=0)
    return ExponentEstimate(
        exponent=grid[int(mean(process, points).argmin())],
        low=float(low),
        high=float(high),
        chosen=chosen,
        gain=gain,
        gain_low=gain_low,
        gain_high=gain_high,
        curve=tuple(
            CurvePoint(exponent, float(middle), float(bottom), float(top))
            for exponent, bottom, middle, top in zip(grid, *curve, strict=True)
        ),
        breaks_down=min((point[0] for point in found.broken if point[0] > found.edges[-1]), default=None),
    )


def _best(samples_SQ: Array, grid_Q: Array, found: Evidence, rng: np.random.Generator) -> Array:
    """The exponent with the lowest value in each sample (S), below a randomly drawn possible edge."""
    edge_S = rng.choice(found.edges, len(samples_SQ))
    best_S: Array = grid_Q[np.where(grid_Q <= edge_S[:, None], samples_SQ, np.inf).argmin(axis=1)]
    return best_S
