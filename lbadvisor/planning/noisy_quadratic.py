"""The noisy quadratic model: how many updates a batch size needs where the answer is known exactly.

The loss is 1/2 sum h_i th_i^2, th_i(0) = 1, the gradient's noise has the variance c_i/B in coordinate i, and SGD has no
momentum. Its expected loss after t updates has a closed form (Zhang et al. 2019, arXiv:1907.04164), so the updates that
a loss takes can be found for the best learning rate of each batch size, and a noise scale's prediction be checked.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from lbadvisor.planning.noise_scale import NoiseScale, stretch

LOSS = 0.02
"""The loss to reach with `HARMONIC`, from 3.74."""


@dataclass(frozen=True, slots=True)
class NoisyQuadratic:
    """Curvatures h_i, and c_i, the variance of one example's gradient along them."""

    curvatures: tuple[float, ...]
    variances: tuple[float, ...]


HARMONIC = NoisyQuadratic(*[tuple(1 / i for i in range(1, 1001))] * 2)
"""h_i = c_i = 1/i, as in Zhang et al. 2019, in 1000 dimensions."""
_NOISE_SCALE = 700.0
"""About that along its training to `LOSS`, while the batch is below it: 764 at 1, 638 at 128."""

_NO_STRETCH = 1e6
"""A noise scale so many times the target leaves a stretch of 1, within a millionth."""


@dataclass(frozen=True, slots=True)
class Descent:
    """SGD at a learning rate and a batch size (any number above 0), for so many updates."""

    lr: float
    batch_size: float
    updates: int


def terms(model: NoisyQuadratic, lr: float, batch_size: float) -> Iterator[tuple[float, float, float]]:
    """Of each coordinate h, k and f: E th^2 = f + k^t (1 - f), k = (1 - lr h)^2, f = lr c/(B h (2 - lr h))."""
    for h, c in zip(model.curvatures, model.variances, strict=True):
        yield h, (1 - lr * h) ** 2, lr * c / (batch_size * h * (2 - lr * h))


def updates_to(model: NoisyQuadratic, loss: float, lr: float, batch_size: float) -> float:
    """The updates in which the expected loss first comes down to `loss`; inf if the noise keeps it above.

    `loss` is below that of the start, so that it falls all the way.
    """
    if lr * max(model.curvatures) >= 2:
        return math.inf
    parts = list(terms(model, lr, batch_size))
    kept, falls = [k for _, k, _ in parts], [h * (1 - final) / 2 for h, _, final in parts]
    rest = loss - sum(h * final for h, _, final in parts) / 2
    if rest <= 0:
        return math.inf

    def is_above(updates: int) -> bool:
        return sum(fall * k**updates for fall, k in zip(falls, kept, strict=True)) > rest

    high = 1
    while is_above(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_above(middle) else (low, middle)
    return high


def best_descent(model: NoisyQuadratic, loss: float, batch_size: float) -> Descent:
    """The one that comes down to `loss` in the fewest updates: its learning rate is the best within 1%."""

    @functools.cache
    def updates(logarithm: float) -> float:
        return updates_to(model, loss, math.exp(logarithm), batch_size)

    # The updates have one minimum. If none of the three ever gets there, min takes the first: the lowest learning rate.
    width = 10.0
    best = math.log(2 / max(model.curvatures)) - width
    while width > 0.005:
        best = min((best - width, best, best + width), key=updates)
        width /= 2
    return Descent(math.exp(best), batch_size, round(updates(best)))


def noise_scale_along(model: NoisyQuadratic, descent: Descent) -> float:
    """The noise scale in examples as it is measured along a descent: tr S over the mean of E|g|^2 = sum h^2 E th^2."""
    mean = 0.0
    for h, kept, final in terms(model, descent.lr, descent.batch_size):
        left = (1 - kept**descent.updates) / (descent.updates * (1 - kept))  # the mean of k^t
        mean += h * h * (final + left * (1 - final))
    return sum(model.variances) / mean


def needed_stretch(noise_scale: float, batch_size: int, target_batch_size: int) -> float:
    """Factor of the epochs that `HARMONIC` needs to reach `LOSS` with the target batch, the best learning rate at each.

    Its batches are scaled so that the noise scale along the baseline's descent, in batches, is the given one.
    """
    if noise_scale > _NO_STRETCH * target_batch_size:
        return 1.0
    small = best_descent(HARMONIC, LOSS, batch_size / noise_scale * _NOISE_SCALE)
    small = best_descent(HARMONIC, LOSS, batch_size / noise_scale * noise_scale_along(HARMONIC, small))
    ratio = target_batch_size / batch_size
    return best_descent(HARMONIC, LOSS, small.batch_size * ratio).updates * ratio / small.updates


def stretch_caveats(scale: NoiseScale, batch_size: int, target_batch_size: int) -> tuple[str, ...]:
    """How far the noise scale's prediction would be off on the noisy quadratic model, in a sentence; none without one.

    There is no such model of an infinite noise scale, or of one of 0. It computes for a fifth of a second.
    """
    if not 0 < scale.examples < math.inf:
        return ()
    predicted = stretch(scale.examples, batch_size, target_batch_size)
    needed = needed_stretch(scale.examples, batch_size, target_batch_size)
    return (
        "On a noisy quadratic of the same noise scale (Zhang et al. 2019, arXiv:1907.04164; curvatures 1 to 1/1000, "
        f"the best learning rate at each batch size), the epochs have to grow by {needed:.3g}, and the noise scale "
        f"predicts {predicted:.3g}: it weighs all directions alike.",
    )
