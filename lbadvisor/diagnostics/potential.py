"""The exponent of the random potential: how the loss's standard deviation grows with the distance from a start.

The paper's theory takes the loss to be a random field with E(L(w) - L(w_0))^2 ~ ||w - w_0||^alpha, so a standard
deviation that grows as d^gamma, gamma = alpha/2, and concludes that training moves its weights by
||w_t - w_0|| ~ (ln t)^(2/alpha) (Hoffer, Hubara, Soudry 2017, arXiv:1705.08741): alpha = 2 gives the logarithm.
W walks, K distances.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lbadvisor.errors import LbadvisorError
from lbadvisor.records.diagnosis import Diagnosis, Graph, Grid, Series

Array = npt.NDArray[np.float64]
RESAMPLES = 2000
"""Bootstrap samples: the ends of a 95% interval then stand on 50 of them each."""
EXPLAINED_WITHIN = 0.1
"""The gradient explains a deviation if it gives it up to this share."""


@dataclass(frozen=True, slots=True)
class Walk:
    """The loss minus that at the start, at each distance along one random direction from the weights of `seed`."""

    seed: int
    changes: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """The largest distance to look at, and where it is from: `source` completes "up to d, ..."."""

    distance: float
    source: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95% bootstrap interval over the walks."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class DistanceBin:
    """The change of the loss, in nats, at a distance: its standard deviation over directions, averaged over the starts.

    `from_gradient` is what the gradient at the start alone gives: d |g|/sqrt(P), the standard deviation of d g.u for
    directions u uniform on the sphere in P dimensions. `root_mean_square` is that of the change itself, mean included.
    """

    distance: float
    deviation: Estimate
    variance: float
    mean: float
    root_mean_square: float
    from_gradient: float


@dataclass(frozen=True, slots=True)
class Potential:
    """The measured exponents: `gamma` of the deviation, alpha = 2 gamma, `far_gamma` over the farther half.

    `gamma_with_mean` is that of the root mean square. `normalized_over` is the number of examples that share batch
    norm's statistics, None without batch norm.
    """

    recipe: str
    seeds: tuple[int, ...]
    directions: int
    examples: int
    normalized_over: int | None
    parameters: int
    reach: Reach
    bins: tuple[DistanceBin, ...]
    gamma: Estimate
    alpha: Estimate
    far_gamma: Estimate
    gamma_with_mean: Estimate


@dataclass(frozen=True, slots=True)
class Growths:
    """What the walks alone tell, at each distance and over all."""

    deviations: tuple[Estimate, ...]
    means: tuple[float, ...]
    root_mean_squares: tuple[float, ...]
    gamma: Estimate
    far_gamma: Estimate
    gamma_with_mean: Estimate


def growths_of(distances: Sequence[float], walks: Sequence[Walk]) -> Growths:
    """Fit std ~ d^gamma by least squares over the logarithms; at least two directions for each seed.

    Points along a walk are correlated: the bootstrap draws whole walks. Raises `LbadvisorError` if the loss is not
    finite or does not change at a distance.
    """
    from scipy.stats import bootstrap

    changes_WK, within_WK = _squares_of(walks)
    _check(distances, changes_WK, within_WK)
    centred_K = np.log(distances) - np.mean(np.log(distances))
    half = len(distances) // 2
    far_K = np.log(distances[half:]) - np.mean(np.log(distances[half:]))

    def statistics(rows: Any, axis: int = -1) -> Array:
        """Deviations and root mean squares (2K), then the three exponents, in front of the resamples."""
        logs_K = np.log(within_WK[rows].mean(axis - 1)) / 2
        all_logs_K = np.log(np.square(changes_WK[rows]).mean(axis - 1)) / 2
        exponents = [_slope(centred_K, logs_K), _slope(far_K, logs_K[..., half:]), _slope(centred_K, all_logs_K)]
        both = np.concatenate([np.exp(logs_K), np.exp(all_logs_K), np.stack(exponents, -1)], -1)
        return np.moveaxis(both, -1, 0)

    rows_W = np.arange(len(walks))
    found = statistics(rows_W)
    drawn = bootstrap(
        (rows_W,), statistics, vectorized=True, n_resamples=RESAMPLES, batch=RESAMPLES // 10, method="percentile", rng=0
    ).confidence_interval
    estimates = [Estimate(*map(float, ends)) for ends in zip(found, drawn.low, drawn.high, strict=True)]
    count = len(distances)
    return Growths(
        tuple(estimates[:count]),
        tuple(changes_WK.mean(0).tolist()),
        tuple(one.value for one in estimates[count : 2 * count]),
        *estimates[2 * count :],
    )


def _squares_of(walks: Sequence[Walk]) -> tuple[Array, Array]:
    """Changes, and squared deviations from the mean of the same seed whose mean is the unbiased variance: (W, K)."""
    changes_WK = np.array([walk.changes for walk in walks], dtype=np.float64)
    within_WK = np.empty_like(changes_WK)
    for seed in {walk.seed for walk in walks}:
        own = np.array([walk.seed == seed for walk in walks])
        count = int(own.sum())
        if count < 2:
            raise ValueError(f"seed {seed} has {count} direction: a deviation needs two")
        within_WK[own] = np.square(changes_WK[own] - changes_WK[own].mean(0)) * (count / (count - 1))
    return changes_WK, within_WK


def _check(distances: Sequence[float], changes_WK: Array, within_WK: Array) -> None:
    for k, distance in enumerate(distances):
        if not np.isfinite(changes_WK[:, k]).all():
            raise LbadvisorError(f"the loss is not finite at the distance {distance:g}: give a smaller --distance")
        if not within_WK[:, k].any():
            raise LbadvisorError(f"the loss is the same in all directions at the distance {distance:g}: nothing to fit")


def _slope(centred: Array, logs: Array) -> Array:
    slope: Array = logs @ (centred / (centred @ centred))
    return slope


def diagnosis_of_potential(found: Potential) -> Diagnosis:
    """The potential in words, its deviations over two kinds of axes, and its table."""
    return Diagnosis(
        title=f"{found.recipe}: the loss along random directions from its initial weights",
        conclusion=" ".join(_sentences(found)),
        graphs=(_graph(found, logarithmic=False), _graph(found, logarithmic=True)),
        grids=(_grid(found),),
        caveats=tuple(_caveats(found)),
    )


def _sentences(found: Potential) -> Iterator[str]:
    alpha, last = found.alpha, found.bins[-1]
    yield (
        f"The loss's standard deviation grows as d^{_text(found.gamma)}, 95% interval, up to d = "
        f"{found.reach.distance:.3g}, {found.reach.source}: alpha = {_text(alpha)}, and the theory's weight distance "
        f"grows as (ln t)^{2 / alpha.value:.2f}."
    )
    verb = "is compatible with" if alpha.low <= 2 <= alpha.high else "excludes"
    yield f"That {verb} alpha = 2, with which it grows as ln t."
    shares = [one.from_gradient / one.deviation.value for one in found.bins]
    yield (
        f"Every smooth loss begins as d^1: the gradient at the initial weights alone gives {shares[0]:.0%} of the "
        f"deviation at d = {found.bins[0].distance:.2g} and {shares[-1]:.0%} at d = {last.distance:.3g}."
    )
    if all(abs(share - 1) <= EXPLAINED_WITHIN for share in shares):
        yield "So these distances show a smooth loss, and cannot tell it from a random potential of alpha = 2."
    else:
        yield f"Over the farther half of the distances, the exponent is {_text(found.far_gamma)}."
    yield (
        f"The loss also changes on average, by {last.mean:+.2g} at d = {last.distance:.3g} "
        f"({abs(last.mean) / last.deviation.value:.0%} of the deviation), which the theory takes to be 0; with it, the "
        f"root mean square grows as d^{_text(found.gamma_with_mean)}."
    )


def _caveats(found: Potential) -> Iterator[str]:
    starts = "initialization" if len(found.seeds) == 1 else "initializations"
    yield (
        f"{found.directions} directions from each of {len(found.seeds)} {starts}, uniform on the sphere over all "
        f"{found.parameters:,} parameters; the loss on the same {found.examples:,} training examples, without "
        "augmentation or dropout."
    )
    if found.normalized_over is not None:
        yield (
            f"Batch norm uses the statistics of {found.normalized_over:,} examples, as in training: its running "
            "statistics are still 0 and 1 at the initial weights."
        )
    yield (
        "Training does not move in random directions, and what is measured is near the initial weights: the theory "
        "takes the potential to be the same everywhere (Hoffer et al. 2017, arXiv:1705.08741)."
    )
    yield (
        "The interval is a bootstrap over directions: it does not say how much other initializations, or other "
        "examples, would differ."
    )


def _graph(found: Potential, *, logarithmic: bool) -> Graph:
    x = tuple(one.distance for one in found.bins)
    deviations = [one.deviation for one in found.bins]
    y = tuple(one.value for one in deviations)
    logs = np.log(y) - found.gamma.value * np.log(x)
    fitted = tuple(float(np.exp(logs.mean())) * d**found.gamma.value for d in x)
    series = (
        Series(
            "standard deviation",
            x,
            y,
            tuple(one.low for one in deviations),
            tuple(one.high for one in deviations),
            style="points",
        ),
        Series(f"d^{found.gamma.value:.2f}", x, fitted, like=0),
        Series("from the initial gradient alone", x, tuple(one.from_gradient for one in found.bins), style="dashed"),
    )
    return Graph(
        title="Standard deviation of the loss" + (", logarithmic axes" if logarithmic else ""),
        x_title="distance from the initial weights",
        y_title="standard deviation of L(w) - L(w_0), nats",
        series=series,
        logarithmic_x=logarithmic,
        logarithmic_y=logarithmic,
        note="A power law is a straight line here." if logarithmic else "alpha = 2 is a straight line through 0.",
    )


def _grid(found: Potential) -> Grid:
    headings = ("distance", "std", "95% from", "to", "variance", "mean", "root mean square", "from the gradient")
    rows = tuple(
        (
            one.distance,
            one.deviation.value,
            one.deviation.low,
            one.deviation.high,
            one.variance,
            one.mean,
            one.root_mean_square,
            one.from_gradient,
        )
        for one in found.bins
    )
    return Grid("L(w) - L(w_0), in nats", headings, (".3g",) * len(headings), rows)


def _text(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
