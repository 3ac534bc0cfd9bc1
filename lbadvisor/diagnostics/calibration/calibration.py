"""The exponent at which the target batch moves the weights as far as the baseline, and what noise predicts for it.

The paper wants the large batch to diffuse like the small one (Hoffer et al. 2017, arXiv:1705.08741): its weight
distance, as a function of updates, should match the baseline's. Short runs show which exponent does so. A window is
the first t updates: in the first few, the gradient is the same in every update and the weights drift (any two batch
sizes then agree at exponent 0); later noise dominates, and they agree at 0.5. An exponent without its window misleads.
"""

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lbadvisor.comparison.intervals import mean_of
from lbadvisor.diagnostics.noise.noise_estimate import GradientMoments, noise_scale
from lbadvisor.errors import UsageError
from lbadvisor.planning.noise_scale import NoiseScale, noise_scale_text
from lbadvisor.records.bounded import Bounded

FIRST_WINDOW = 5
MOST_UPDATES = 320
FEWEST_UPDATES = 20
AGREES_WITHIN = 0.05
"""In units of the exponent: at r = 32 that is 19% of the learning rate."""
RULES = ((0.0, "an unscaled learning rate (0)"), (0.5, "the square-root rule (0.5)"), (1.0, "the linear rule (1)"))
AIMED_SHARE = 0.05
"""A calibration's share of a training's examples, within the limits of 20 to 320 updates."""


@dataclass(frozen=True, slots=True)
class DistanceCurve:
    """Weight distances of one short run, one per window; `exponent` is None for the baseline.

    They are nan once the run's weights are no longer finite.
    """

    exponent: float | None
    seed: int
    distances: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Exponent:
    """An exponent over seeds: the mean and its 95% interval (Student's t), None for one seed.

    If some seed's exponent is outside those that were tried, `value` is None and `outside` names the side.
    """

    value: float | None
    low: float | None
    high: float | None
    outside: Literal["below", "above"] | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """The first `updates` updates: the exponent whose weight distance is the baseline's, and those that noise predicts.

    `one_update` is a of eta_L = eta_S r^a with eta_S^2 (|g|^2 + tr S/B_S) = eta_L^2 (|g|^2 + tr S/B_L): the second
    moment of a step. `coherent` is the same for the sum of the window's steps if they all had the same mean gradient:
    t |g|^2 instead of |g|^2. `drift_share` is |g|^2/(|g|^2 + tr S/B_S). Moments are means over the window, separately
    for numerators and denominators; None if they are not above 0. `noise_scale` is tr S/|g|^2, with an interval over
    the seeds.
    """

    updates: int
    matched: Exponent
    one_update: Exponent
    coherent: Exponent
    drift_share: float | None
    noise_scale: NoiseScale


@dataclass(frozen=True, slots=True)
class Calibration:
    """The result of a calibration; it used `examples`, which is `share_percent` of the planned training's."""

    baseline: str
    batch_size: int
    target_batch_size: int
    exponents: tuple[float, ...]
    seeds: tuple[int, ...]
    windows: tuple[Window, ...]
    curves: tuple[DistanceCurve, ...]
    examples: int
    share_percent: float
    seconds: float
    conclusion: str


def windows_of(updates: int) -> tuple[int, ...]:
    """The windows to look at: all updates, half of them, and so on, down to at least five."""
    found = [updates]
    while found[-1] >= 2 * FIRST_WINDOW:
        found.append(found[-1] // 2)
    return tuple(reversed(found))


def default_updates(training_updates: int, exponents: int, seeds: int, ratio: float) -> int:
    """Updates that take about 5% of a training's examples, at least 20 and at most 320."""
    most = AIMED_SHARE * training_updates / (seeds * (exponents + 1 / ratio))
    return min(max(round(most), FEWEST_UPDATES), MOST_UPDATES)


def matched_exponent(baseline_distance: float, by_exponent: Sequence[tuple[float, float]]) -> float | None:
    """The exponent with the baseline's distance, interpolating the logarithm linearly between neighbours.

    This is exact for a distance proportional to the learning rate, which both drift and diffusion give. -inf or inf if
    it is below or above all exponents; None if fewer than two distances are finite and above 0.
    """
    known = sorted((a, math.log(d)) for a, d in by_exponent if math.isfinite(d) and d > 0)
    if len(known) < 2 or not (math.isfinite(baseline_distance) and baseline_distance > 0):
        return None
    goal = math.log(baseline_distance)
    for (a, left), (b, right) in itertools.pairwise(known):
        if min(left, right) <= goal <= max(left, right):
            return a if left == right else a + (b - a) * (goal - left) / (right - left)
    return -math.inf if goal < known[0][1] else math.inf


def noise_exponent(
    squared_mean: float, variance: float, batch_size: int, target_batch_size: int, updates: int = 1
) -> float | None:
    """The a of (target/batch)^a that keeps the second moment of the sum of `updates` steps of one mean gradient.

    E|sum|^2 = eta^2 (t^2 |g|^2 + t tr S/B): 0.5 if noise dominates, 0 if drift does. None if a moment is not above 0.
    """
    small = updates * squared_mean + variance / batch_size
    large = updates * squared_mean + variance / target_batch_size
    if small <= 0 or large <= 0:
        return None
    return math.log(small / large) / (2 * math.log(target_batch_size / batch_size))


def over_seeds(values: Sequence[float | None]) -> Exponent:
    """The mean over seeds, with its interval."""
    if not values or any(value is None for value in values):
        return Exponent(None, None, None)
    numbers = [value for value in values if value is not None]
    if not all(map(math.isfinite, numbers)):
        return Exponent(None, None, None, "below" if min(numbers) == -math.inf else "above")
    mean = mean_of(numbers)
    return Exponent(mean.value, mean.low, mean.high)


def calibrated_windows(
    windows: Sequence[int],
    curves: Sequence[DistanceCurve],
    moments: Sequence[GradientMoments],
    batch_size: int,
    target_batch_size: int,
) -> tuple[Window, ...]:
    """Each window's exponents, from the curves of the baseline and the target, paired by seed."""
    seeds = sorted({curve.seed for curve in curves})
    of_baseline = {curve.seed: curve.distances for curve in curves if curve.exponent is None}
    found = []
    for index, updates in enumerate(windows):
        matched, one, coherent, all_means, all_variances = [], [], [], [], []
        for seed in seeds:
            by_exponent = [
                (curve.exponent, curve.distances[index])
                for curve in curves
                if curve.exponent is not None and curve.seed == seed
            ]
            matched.append(matched_exponent(of_baseline[seed][index], by_exponent))
            within = sorted((m for m in moments if m.seed == seed and m.update <= updates), key=lambda m: m.update)
            # Each represents the updates since the one before.
            spans = [m.update - before for m, before in zip(within, (0, *(m.update for m in within)), strict=False)]
            mean = statistics.fmean((m.squared_mean for m in within), spans)
            variance = statistics.fmean((m.variance for m in within), spans)
            one.append(noise_exponent(mean, variance, batch_size, target_batch_size))
            coherent.append(noise_exponent(mean, variance, batch_size, target_batch_size, updates))
            all_means.append(mean)
            all_variances.append(variance)
        drift, noise = statistics.fmean(all_means), statistics.fmean(all_variances) / batch_size
        found.append(
            Window(
                updates=updates,
                matched=over_seeds(matched),
                one_update=over_seeds(one),
                coherent=over_seeds(coherent),
                drift_share=drift / (drift + noise) if drift > 0 and noise > 0 else None,
                noise_scale=noise_scale(all_means, all_variances),
            )
        )
    return tuple(found)


def concluded(windows: Sequence[Window], exponents: Sequence[float], seeds: int) -> str:
    """The windows' findings in sentences."""
    return " ".join(_sentences(windows, exponents, seeds))


def _sentences(windows: Sequence[Window], exponents: Sequence[float], seeds: int) -> Iterator[str]:
    first, last = windows[0], windows[-1]
    yield (
        f"Over the first {last.updates} updates, the target's weights move as far as the baseline's at exponent "
        f"{exponent_text(last.matched, exponents)}; over the first {first.updates}, at "
        f"{exponent_text(first.matched, exponents)}."
    )
    value = last.matched.value
    if value is not None:
        if last.matched.low is not None and last.matched.high is not None:
            yield _agreement(last.matched.low, last.matched.high)
        if first.matched.value is not None and value - first.matched.value > 0.1:
            yield "It grows with the window, as drift gives way to noise; a longer window may raise it further."
    if last.one_update.value is not None:
        drift = "" if last.drift_share is None else f" ({100 * last.drift_share:.2g}% of it drift)"
        yield f"The second moment of a single update{drift} predicts {last.one_update.value:.2f}."
    yield f"The noise scale over these updates is {noise_scale_text(last.noise_scale)} examples (see `probe noise`)."
    if seeds == 1:
        yield "One seed gives no interval, so no rule is confirmed or excluded; use --seeds 2 or more."


def _agreement(low: float, high: float) -> str:
    """What the interval says about the rules: one is confirmed only if the others are excluded."""
    possible = [(rule, name) for rule, name in RULES if low - AGREES_WITHIN <= rule <= high + AGREES_WITHIN]
    if len(possible) > 1:
        *names, last = [name for _, name in possible]
        return f"This does not exclude {', '.join(names)} or {last}: more --seeds narrow the interval."
    agrees = "".join(f"That agrees with {name} and excludes the others. " for _, name in possible)
    if high < 0.5 - AGREES_WITHIN:
        return f"{agrees}At 0.5 they move farther, because the square-root rule assumes no drift."
    if low > 0.5 + AGREES_WITHIN:
        return f"{agrees}At 0.5 they move less far."
    return agrees.rstrip()


def exponent_text(exponent: Exponent, tried: Sequence[float]) -> str:
    """For example 0.41 (0.38 to 0.44)."""
    if exponent.outside is not None:
        return f"below {min(tried):g}" if exponent.outside == "below" else f"above {max(tried):g}"
    if exponent.value is None:
        return "unknown"
    return Bounded(exponent.value, exponent.low, exponent.high).text(".2f")


def check_exponents(exponents: Sequence[float]) -> None:
    """Raise `UsageError` unless there are at least two different ones, all between -2 and 2."""
    if len(set(exponents)) < 2 or len(set(exponents)) < len(exponents) or not all(-2 <= a <= 2 for a in exponents):
        raise UsageError(
            f"exponents {', '.join(f'{a:g}' for a in exponents)}: give at least two different ones from -2 to 2"
        )
