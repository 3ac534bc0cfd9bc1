"""Where the best exponent lies, and how sure that is, from the values of a few trials.

The logarithm of the value is taken to be a Gaussian process over the space (each dimension scaled to 0..1), a Matern
kernel of smoothness 5/2 and independent noise. Its length scale, height and noise are not fitted but averaged over,
each setting weighing by how likely it makes the trials: with a dozen trials the best one would be believed too much.
N trials, Q places that are asked for, S samples.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process.kernels import Matern
from threadpoolctl import threadpool_limits

from lbadvisor.advisor.refinement import CurvePoint, Estimate, Metric, Trial, noise_of_means
from lbadvisor.advisor.search_space import RESOLUTION, Point, SearchSpace

Array = npt.NDArray[np.float64]

LENGTH_SCALES = (0.2, 0.3, 0.45, 0.7, 1.0, 1.5)
HEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
NOISES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""In standard deviations of the trials' values: equally likely beforehand. With these, of 200 sets each of 5, 8 and 12
trials that were noise alone, 2%, 1% and none passed for a certain gain."""
SAMPLES = 4000
FEWEST = 3
CUT = 4.0
"""A value that is above the median by more than so many times the median's distance to the best is cut there."""
LEAST_CUT = 1.0
"""But none below e times the best. Once most trials lie at the best, so does the median: what is clearly worse would be
cut to what their noise may make."""


def cut_logarithms(values: Sequence[float], floor: float = 0.0) -> list[float]:
    """log(value + floor) of each, the worst cut: where training breaks down a cliff would set the scale of the valley.

    Values above both median + 4 (median - best) and best + 1, all in logarithms, become the higher of the two; an
    infinite one, where that is infinite as well, becomes the worst finite one. Raises `ValueError` where all are.
    """
    logs = np.array([math.log(value + floor) if math.isfinite(value) else math.inf for value in values])
    finite = logs[np.isfinite(logs)]
    if not len(finite):
        raise ValueError("no trial has a finite value")
    median, best = float(np.median(logs)), float(finite.min())
    top = max(median + CUT * (median - best), best + LEAST_CUT)
    if not math.isfinite(top):
        top = float(finite.max())
    return [float(value) for value in np.minimum(logs, top)]


def least_value(metric: Metric, validation_examples: int | None) -> float:
    """What is added to a value, so that an error of 0 has a logarithm: half an example, in percent."""
    return 50 / validation_examples if metric == "error" and validation_examples else 0.0


def estimate(
    trials: Sequence[Trial], space: SearchSpace, metric: Metric, validation_examples: int | None, seed: int = 0
) -> Estimate | None:
    """The best exponent with its interval, the trial to choose, and its gain; None for fewer than three finite values.

    The noise is at least that of the runs, where there are several seeds; with one seed, at least that of an error
    that is counted on `validation_examples` (None: nothing is known of it).
    """
    if sum(math.isfinite(trial.value) for trial in trials) < FEWEST:
        return None
    floor = least_value(metric, validation_examples)
    least_noise = _least_noise(trials, floor, metric, validation_examples)
    # The matrices are small: a second thread of BLAS only waits for the first.
    with threadpool_limits(1, user_api="blas"):
        return _estimated(trials, space, floor, least_noise, np.random.default_rng(seed))


def _estimated(
    trials: Sequence[Trial], space: SearchSpace, floor: float, least_noise: float, rng: np.random.Generator
) -> Estimate:
    logs = np.array(cut_logarithms([trial.value for trial in trials], floor))
    scale = float(logs.std()) or 1.0
    y_N, least = (logs - logs.mean()) / scale, least_noise / scale
    unit_ND = np.array([_scaled(space, trial.point) for trial in trials])

    tried = list(dict.fromkeys(trial.point for trial in trials))
    means, _ = _posterior(unit_ND, y_N, np.array([_scaled(space, p) for p in tried]), least, 0, rng)
    chosen = tried[int(means.argmin())]
    grid = _exponents(space)
    asked = [(exponent, *chosen[1:]) for exponent in grid] + [chosen, space.theory]
    means, samples_SQ = _posterior(unit_ND, y_N, np.array([_scaled(space, p) for p in asked]), least, SAMPLES, rng)
    values_SQ = np.exp(samples_SQ * scale + logs.mean()) - floor
    best_S = np.array(grid)[samples_SQ[:, : len(grid)].argmin(axis=1)]
    gain_S = values_SQ[:, -1] - values_SQ[:, -2]
    low, high = np.quantile(best_S, [0.025, 0.975])
    gain_low, gain, gain_high = np.quantile(gain_S, [0.025, 0.5, 0.975])
    curve = np.quantile(values_SQ[:, : len(grid)], [0.025, 0.5, 0.975], axis=0)
    return Estimate(
        exponent=grid[int(means[: len(grid)].argmin())],
        low=float(low),
        high=float(high),
        chosen=chosen,
        gain=float(gain),
        gain_low=float(gain_low),
        gain_high=float(gain_high),
        curve=tuple(
            CurvePoint(exponent, float(middle), float(bottom), float(top))
            for exponent, bottom, middle, top in zip(grid, *curve, strict=True)
        ),
    )


def _exponents(space: SearchSpace) -> list[float]:
    bounds = space.dimensions[0]
    return [round(bounds.low + i * RESOLUTION, 10) for i in range(round((bounds.high - bounds.low) / RESOLUTION) + 1)]


def _least_noise(trials: Sequence[Trial], floor: float, metric: Metric, validation_examples: int | None) -> float:
    """A standard deviation of the logarithm of a trial's value that the noise is not below."""
    rows = [[math.log(value + floor) for value in t.outcome.values] for t in trials if math.isfinite(t.value)]
    seeds = max(len(row) for row in rows)
    of_runs = noise_of_means([row for row in rows if len(row) == seeds])
    if of_runs is not None:
        return of_runs
    if metric != "error" or validation_examples is None:
        return 0.0
    # A share p counted on n examples has the variance p (1 - p)/n.
    best = (min(t.value for t in trials) + floor) / 100
    return math.sqrt(max(1 - best, 0.0) / (best * validation_examples))


def _scaled(space: SearchSpace, point: Point) -> list[float]:
    scaled = []
    for dimension, value in zip(space.dimensions, point, strict=True):
        low, high = dimension.low, dimension.high
        if dimension.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        scaled.append((value - low) / (high - low))
    return scaled


def _posterior(
    unit_ND: Array, y_N: Array, asked_QD: Array, least_noise: float, samples: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """The mean at the places asked for (Q), and samples of the noiseless value there (S, Q), over all settings."""
    noises = [noise for noise in NOISES if noise > least_noise] or [least_noise]
    if least_noise > NOISES[0]:
        noises = [least_noise, *(noise for noise in noises if noise > least_noise)]
    settings, evidence = [], []
    for length, height, noise in itertools.product(LENGTH_SCALES, HEIGHTS, noises):
        kernel = Matern(length_scale=length, nu=2.5)
        among_NN = height**2 * kernel(unit_ND) + (noise**2 + 1e-8) * np.eye(len(y_N))
        lower_NN = np.linalg.cholesky(among_NN)
        white_N = np.linalg.solve(lower_NN, y_N)
        evidence.append(float(-0.5 * white_N @ white_N - np.log(np.diag(lower_NN)).sum()))
        across_NQ = np.linalg.solve(lower_NN, height**2 * kernel(unit_ND, asked_QD))
        settings.append((height**2, kernel, across_NQ, across_NQ.T @ white_N))
    weights = np.exp(np.array(evidence) - max(evidence))
    weights /= weights.sum()
    mean_Q = np.sum([w * mean for w, (*_, mean) in zip(weights, settings, strict=True)], axis=0)
    drawn = []
    for count, (variance, kernel, across_NQ, mean) in zip(rng.multinomial(samples, weights), settings, strict=True):
        if count:
            covariance_QQ = variance * kernel(asked_QD) - across_NQ.T @ across_NQ
            drawn.append(
                rng.multivariate_normal(mean, covariance_QQ, size=int(count), method="eigh", check_valid="ignore")
            )
    return mean_Q, np.concatenate(drawn) if drawn else np.empty((0, len(asked_QD)))
