"""The exponent of the random potential: how the loss's standard deviation grows with the distance from a start.

The paper's theory takes the loss to be a random field with E(L(w) - L(w_0))^2 ~ ||w - w_0||^alpha, so a standard
deviation that grows as d^gamma, gamma = alpha/2, and concludes that training moves its weights by
||w_t - w_0|| ~ (ln t)^(2/alpha) (Hoffer, Hubara, Soudry 2017, arXiv:1705.08741): alpha = 2 gives the logarithm.
W walks, K distances.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lbadvisor.comparison.intervals import t_quantile
from lbadvisor.errors import LbadvisorError
from lbadvisor.records.bounded import Bounded
from lbadvisor.records.diagnosis import Diagnosis, Graph, Grid, Series, banded
from lbadvisor.records.numerals import counted

Matrix = npt.NDArray[np.float64]
RESAMPLES = 2000
"""Bootstrap samples: they know a standard error to 2%."""
ROUNDING = 1e-6
EXPLAINED_WITHIN = 0.1
"""The gradient at the start explains a deviation that it gives up to this share."""


@dataclass(frozen=True, slots=True)
class Walk:
    """The loss minus that at the start, at each distance along one random direction from the weights of `seed`."""

    seed: int
    changes: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """The largest distance to look at; `source` says where it is from, as in "as far as 200 updates went"."""

    distance: float
    source: str


@dataclass(frozen=True, slots=True)
class DistanceBin:
    """The change of the loss at a distance: its standard deviation over directions, averaged over the starts.

    `from_gradient` is what the gradient at the start alone gives: d |g|/sqrt(P), the standard deviation of d g.u for
    directions u uniform on the sphere in P dimensions (own algebra).
    """

    distance: float
    deviation: Bounded
    mean: float
    from_gradient: float


@dataclass(frozen=True, slots=True)
class LossGrowth:
    """The bins; `gamma` of their deviation, alpha = 2 gamma, and that of the root mean square, mean change included."""

    bins: tuple[DistanceBin, ...]
    gamma: Bounded
    alpha: Bounded
    gamma_with_mean: Bounded


@dataclass(frozen=True, slots=True)
class Potential:
    """The growth of the loss on `examples`, over `directions` from the initial weights of each seed.

    `normalized_over` is the number of examples that share batch norm's statistics, None without batch norm.
    """

    recipe: str
    seeds: tuple[int, ...]
    directions: int
    examples: int
    normalized_over: int | None
    parameters: int
    reach: Reach
    growth: LossGrowth


def growth_of(distances: Sequence[float], walks: Sequence[Walk], gradient_slope: float) -> LossGrowth:
    """Fit std ~ d^gamma by least squares over the logarithms; `gradient_slope` is |g|/sqrt(P) at the starts.

    Points along a walk are correlated, so the bootstrap draws whole walks. The intervals are Student's t, with a degree
    of freedom less for each start, times its standard error: they cover a Brownian potential's exponent in 94% of
    draws, where the bootstrap's percentiles do in 90%. Raises `LbadvisorError` if the loss is not finite or does not
    change at a distance.
    """
    from scipy.stats import bootstrap

    changes_WK = np.array([walk.changes for walk in walks], dtype=np.float64)
    for k, distance in enumerate(distances):
        if not np.isfinite(changes_WK[:, k]).all():
            raise LbadvisorError(f"the loss is not finite at the distance {distance:g}: give a smaller --distance")
        if not changes_WK[:, k].any():
            raise LbadvisorError(f"the loss does not change up to the distance {distance:g}: give a larger --distance")
    seeds = [walk.seed for walk in walks]
    squares_WK = _squares(changes_WK, seeds)
    centred_K = np.log(distances) - np.mean(np.log(distances))
    slope_K = centred_K / (centred_K @ centred_K)

    def statistics(rows: Any, axis: int = -1) -> Matrix:
        """The logarithms of the K deviations, and both exponents, in front of the resamples."""
        deviations_K = np.log(squares_WK[rows].mean(axis - 1)) / 2
        with_mean_K = np.log(np.square(changes_WK[rows]).mean(axis - 1)) / 2
        exponents = np.stack([deviations_K @ slope_K, with_mean_K @ slope_K], -1)
        return np.moveaxis(np.concatenate([deviations_K, exponents], -1), -1, 0)

    rows_W = np.arange(len(walks))
    drawn = bootstrap((rows_W,), statistics, vectorized=True, n_resamples=RESAMPLES, method="percentile", rng=0)
    free = len(walks) - len(set(seeds))
    halves = t_quantile(free) * drawn.standard_error * math.sqrt(len(walks) / free)
    found = [Bounded(v, v - h, v + h) for v, h in zip(statistics(rows_W).tolist(), halves.tolist(), strict=True)]
    *deviations, gamma, gamma_with_mean = found
    bins = (
        DistanceBin(distance, log.mapped(math.exp), mean, distance * gradient_slope)
        for distance, log, mean in zip(distances, deviations, changes_WK.mean(0).tolist(), strict=True)
    )
    return LossGrowth(tuple(bins), gamma, gamma.times(2), gamma_with_mean)


def _squares(changes_WK: Matrix, seeds: Sequence[int]) -> Matrix:
    """Squared deviations from the mean of the same seed, whose mean is the unbiased variance: (W, K)."""
    squares_WK = np.empty_like(changes_WK)
    for seed in set(seeds):
        own = np.array(seeds) == seed
        squares_WK[own] = np.square(changes_WK[own] - changes_WK[own].mean(0)) * own.sum() / (own.sum() - 1)
    return squares_WK


def diagnosis_of_potential(found: Potential) -> Diagnosis:
    """The potential in words, its deviations over two kinds of axes, and its table."""
    headings = ("distance", "standard deviation", "95% from", "to", "variance", "mean change", "from the gradient")
    rows = tuple(
        (
            b.distance,
            b.deviation.value,
            b.deviation.low,
            b.deviation.high,
            b.deviation.value**2,
            b.mean,
            b.from_gradient,
        )
        for b in found.growth.bins
    )
    return Diagnosis(
        title=f"{found.recipe}: the loss along random directions from its initial weights",
        conclusion="\n".join(" ".join(part) for part in (_answer(found), _doubts(found))),
        graphs=(_graph(found.growth, logarithmic=False), _graph(found.growth, logarithmic=True)),
        grids=(Grid("L(w) - L(w_0)", headings, (".3g",) * len(headings), rows),),
        caveats=tuple(_caveats(found)),
    )


def _answer(found: Potential) -> Iterator[str]:
    growth = found.growth
    alpha, last = growth.alpha, growth.bins[-1]
    gamma, of_all = (found.text(".2f", "95% ") for found in (growth.gamma, alpha))
    yield (
        f"The loss's standard deviation grows as d^{gamma} up to d = {last.distance:.3g} "
        f"({found.reach.source}): alpha = {of_all}, with which the theory's weight distance grows as "
        f"(ln t)^{2 / alpha.value:.2f}."
    )
    verb = "excludes" if alpha.excludes(2, ROUNDING) else "agrees with"
    yield f"That {verb} alpha = 2, with which it grows as ln t."


def _doubts(found: Potential) -> Iterator[str]:
    growth = found.growth
    first, last = growth.bins[0], growth.bins[-1]
    shares = [one.from_gradient / one.deviation.value for one in growth.bins]
    yield (
        f"Every smooth loss begins as d^1: the gradient at the start alone gives {shares[0]:.0%} of the deviation "
        f"at d = {first.distance:.2g}, and {shares[-1]:.0%} at d = {last.distance:.3g}."
    )
    if all(abs(share - 1) <= EXPLAINED_WITHIN for share in shares):
        yield "So at these distances an exponent near 1 shows a smooth loss, not a random potential."
    yield (
        f"The mean change, which the theory takes to be 0, is {last.mean:+.2g} at d = {last.distance:.3g}, "
        f"{abs(last.mean) / last.deviation.value:.0%} of the deviation; with it, the root mean square grows as "
        f"d^{growth.gamma_with_mean.text('.2f', '95% ')}."
    )


def _caveats(found: Potential) -> Iterator[str]:
    yield (
        f"Starts: the initial weights of {counted(len(found.seeds), 'seed')}. Directions: "
        f"{found.directions} from each, uniform on the sphere over all {found.parameters:,} parameters. Loss: on the "
        f"same {found.examples:,} training examples, without augmentation or dropout."
    )
    if found.normalized_over is not None:
        yield (
            f"Batch norm uses the statistics of {found.normalized_over:,} examples at a time, as in training: its "
            "running statistics are still 0 and 1 at the initial weights."
        )
    yield (
        "Training does not move in random directions, and leaves the initial weights; the theory takes the potential "
        "to be the same everywhere (Hoffer et al. 2017, arXiv:1705.08741)."
    )
    yield "The intervals are over directions: other initial weights or examples may differ by more."


def _graph(growth: LossGrowth, *, logarithmic: bool) -> Graph:
    x = tuple(one.distance for one in growth.bins)
    deviations = [one.deviation for one in growth.bins]
    y = [one.value for one in deviations]
    gamma = growth.gamma.value
    factor = float(np.exp(np.mean(np.log(y) - gamma * np.log(x))))
    return Graph(
        title="Standard deviation of the loss" + (", logarithmic axes" if logarithmic else ""),
        x_title="distance from the initial weights",
        y_title="standard deviation",
        series=(
            banded("measured", x, deviations, "points"),
            Series(f"{factor:.2g} d^{gamma:.2f}", x, tuple(factor * d**gamma for d in x), like=0),
            Series("from the gradient alone", x, tuple(one.from_gradient for one in growth.bins), style="dashed"),
        ),
        logarithmic_x=logarithmic,
        logarithmic_y=logarithmic,
        note=f"{'A power law is a straight line' if logarithmic else 'alpha = 2 is a straight line through 0'}.",
    )
