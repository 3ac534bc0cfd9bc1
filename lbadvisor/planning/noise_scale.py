"""What a gradient noise scale says of a larger batch: how much faster an update learns, and what that leaves to train.

The noise scale is B_n = tr S/|g|^2, in examples: of the covariance S of one example's gradient and the mean gradient g
(McCandlish et al. 2018, arXiv:1812.06162, who call it B_simple). These are statements about speed: none is about
generalization.
"""

import math
from dataclasses import dataclass

from lbadvisor.records.bounded import Bounded

MCCANDLISH = "McCandlish et al. 2018, arXiv:1812.06162"
SURGE = "Li et al. 2024, arXiv:2405.14578"


@dataclass(frozen=True, slots=True)
class NoiseScale:
    """B_n in examples, and the ends of its 95% interval: both None if unknown, inf if the data leave it open above."""

    examples: float
    low: float | None = None
    high: float | None = None

    @property
    def bounded(self) -> Bounded:
        """The same, to compute with."""
        return Bounded(self.examples, self.low, self.high)


def gain(noise_scale: float, batch_size: int, target_batch_size: int) -> float:
    """How many updates at `batch_size` one update at `target_batch_size` is worth, from 1 to the batch ratio r.

    r (B_n + B_S)/(B_n + B_L): AdaScale's gain (Johnson et al. 2020, arXiv:2007.05105), which is also the ratio of the
    best learning rates (McCandlish et al. 2018, arXiv:1812.06162). r if B_n is infinite.
    """
    return target_batch_size / batch_size / stretch(noise_scale, batch_size, target_batch_size)


def stretch(noise_scale: float, batch_size: int, target_batch_size: int) -> float:
    """Factor of the epochs, and of the examples, for the same progress: (B_n + B_L)/(B_n + B_S), from 1 to r.

    The full regime, r, is its limit for B_n far below B_S; the unchanged epochs, 1, for B_n far above B_L.
    """
    if math.isinf(noise_scale):
        return 1.0
    return (noise_scale + target_batch_size) / (noise_scale + batch_size)


def predicted_gain(scale: NoiseScale, batch_size: int, target_batch_size: int) -> Bounded:
    """`gain`, which grows with the noise scale, and its interval."""
    return scale.bounded.mapped(lambda examples: gain(examples, batch_size, target_batch_size))


def predicted_stretch(scale: NoiseScale, batch_size: int, target_batch_size: int) -> Bounded:
    """`stretch`, which falls as the noise scale grows, and its interval."""
    return scale.bounded.mapped(lambda examples: stretch(examples, batch_size, target_batch_size))


def surge_factor(batch_size: float, noise_scale: float) -> float:
    """Adam's best learning rate at a batch size, relative to the highest of all: it rises up to B_n, and then falls.

    2/(sqrt(B_n/B) + sqrt(B/B_n)): as sqrt(B) for B far below B_n, 1 at B_n, and equal at B and B_n^2/B (the surge of
    Li et al. 2024, arXiv:2405.14578, derived for steps along the gradient's sign). Far above B_n their own curve
    levels off above 0, and this form, which leaves that out, falls on. 0 if B_n is infinite.
    """
    if math.isinf(noise_scale):
        return 0.0
    return 2 / (math.sqrt(noise_scale / batch_size) + math.sqrt(batch_size / noise_scale))


def noise_scale_text(scale: NoiseScale) -> str:
    """Such as `1,230 (980 to 1,610)`, `1,230 (at least 980)`, or `1,230 (undetermined)` if the data exclude nothing."""

    def text(examples: float) -> str:
        return f"{float(f'{examples:.3g}'):,.10g}" if math.isfinite(examples) else "beyond measure"

    if scale.low is None or scale.high is None:
        return text(scale.examples)
    if math.isfinite(scale.high):
        ends = f"{text(scale.low)} to {text(scale.high)}"
    else:
        ends = f"at least {text(scale.low)}" if scale.low > 0 else "undetermined"
    return f"{text(scale.examples)} ({ends})"


def relative_updates(noise_scale: float, batch_size: float) -> float:
    """Updates to some loss at a batch size, as a factor of the fewest, those of a huge batch: 1 + B_n/B.

    With `relative_examples` it is the hyperbola (S/S_min - 1)(E/E_min - 1) = 1 (McCandlish et al. 2018,
    arXiv:1812.06162), on which both are 2 at the critical batch size, B_n.
    """
    return 1 + noise_scale / batch_size


def relative_examples(noise_scale: float, batch_size: float) -> float:
    """Examples to some loss at a batch size, as a factor of the fewest, those of a tiny batch: 1 + B/B_n."""
    return 1 + batch_size / noise_scale if noise_scale else math.inf
