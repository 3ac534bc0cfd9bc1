"""The gradient noise scale, estimated from the moments that a training read, with the interval of a ratio of means."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from lbadvisor.errors import UsageError
from lbadvisor.planning.noise_scale import NoiseScale
from lbadvisor.records.quantities import GRADIENT_SQUARE, GRADIENT_VARIANCE
from lbadvisor.records.run import Run

if TYPE_CHECKING:
    from lbadvisor.store import Store


@dataclass(frozen=True, slots=True)
class GradientMoments:
    """Estimates at one update of a training: |g|^2 of the mean gradient, tr S of one example's.

    Unbiased, so |g|^2 can come out below 0 (McCandlish et al. 2018, arXiv:1812.06162, two batch sizes).
    """

    seed: int
    update: int
    squared_mean: float
    variance: float


def noise_scale(squared_means: Sequence[float], variances: Sequence[float]) -> NoiseScale:
    """The ratio of the mean variance to the mean |g|^2, with its 95% interval by Fieller's theorem (1954).

    A mean of ratios would be biased. The pairs are independent and come in the order of their updates: their noise is
    judged by the differences of neighbours (von Neumann 1941), so it includes no trend. The interval is open above if
    the mean |g|^2 is not significantly above 0, where a bootstrap covers far less than it says; of one pair, unknown.
    """
    from scipy.stats import t

    count, mean, noise = len(squared_means), statistics.fmean(squared_means), statistics.fmean(variances)
    examples = max(noise, 0.0) / mean if mean > 0 else math.inf
    if count < 2:
        return NoiseScale(examples)
    moves = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(zip(squared_means, variances, strict=True))]
    q = float(t.ppf(0.975, 2 * (count - 1) ** 2 / (3 * count - 4))) ** 2 / count
    # Inside are the B where (noise - B mean)^2 <= q var(noise - B mean), which is a B^2 - 2 b B + c <= 0.
    a = mean**2 - q * statistics.fmean(x * x / 2 for x, _ in moves)
    b = mean * noise - q * statistics.fmean(x * y / 2 for x, y in moves)
    c = noise**2 - q * statistics.fmean(y * y / 2 for _, y in moves)
    root = math.sqrt(max(b * b - a * c, 0.0))
    if a > 0 and mean > 0:
        return NoiseScale(examples, max(0.0, (b - root) / a), max(0.0, (b + root) / a))
    # Of the two ends of what is excluded one is negative: no noise scale is.
    return NoiseScale(examples, 0.0 if c <= 0 or a == 0 else max(0.0, (b - root) / a), math.inf)


def noise_scale_of(moments: Sequence[GradientMoments]) -> NoiseScale:
    """That of all these moments together, pooled over seeds."""
    ordered = sorted(moments, key=lambda one: (one.update, one.seed))
    return noise_scale([one.squared_mean for one in ordered], [one.variance for one in ordered])


def stored_moments(store: "Store", runs: Sequence[Run]) -> tuple[GradientMoments, ...]:
    """What the runs read, by run and update, where both moments are finite. Raises `UsageError` if one has nothing."""
    found = []
    for run in runs:
        of_run = {(one.update, one.quantity): one.value for one in store.readings(run.number)}
        updates = sorted({update for update, quantity in of_run if quantity == GRADIENT_SQUARE.key})
        read = [
            GradientMoments(
                run.seed, update, of_run[update, GRADIENT_SQUARE.key], of_run[update, GRADIENT_VARIANCE.key]
            )
            for update in updates
        ]
        read = [one for one in read if math.isfinite(one.squared_mean) and math.isfinite(one.variance)]
        if not read:
            raise UsageError(
                f"the run {run.name} has no readings of the gradient's noise: train it with `--measure noise`, under "
                "another --name if it is complete; or give a recipe to `lbadvisor probe noise`, which measures it"
            )
        found += read
    return tuple(found)


def stored_noise_scale(store: "Store", runs: Sequence[Run]) -> NoiseScale:
    """The noise scale of one run, or of several seeds of a training together. Raises as `stored_moments` does."""
    return noise_scale_of(stored_moments(store, runs))
