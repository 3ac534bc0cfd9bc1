"""The result of a refinement: its trials, the estimated exponent, and its gain over the theory's.

A trial's value is the metric to minimize on the validation examples, averaged over seeds: the error in percent, or the
loss. A trial that diverged is not an error: its value is infinite, and it bounds the exponent.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lbadvisor.comparison.intervals import t_quantile
from lbadvisor.records.numerals import duration_text
from lbadvisor.refine.search_space import Point, SearchSpace, point_text

TrialMetric = Literal["error", "loss"]


@dataclass(frozen=True, slots=True)
class Measure:
    """How a trial's value is measured: the metric, on this many held-out examples in this many classes (or None)."""

    metric: TrialMetric
    examples: int | None = None
    classes: int | None = None

    @property
    def least(self) -> float:
        """Added to a value so that an error of 0 has a logarithm: half an example, in percent."""
        return 50 / self.examples if self.metric == "error" and self.examples else 0.0

    @property
    def guessing(self) -> float | None:
        """The value of guessing all classes with equal probability."""
        if self.classes is None:
            return None
        return 100 * (1 - 1 / self.classes) if self.metric == "error" else math.log(self.classes)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended: a value for each seed, in order, infinite if the run diverged.

    A pruned trial has the values so far. `runs` are the names of its runs; `epochs` and `seconds` are their total cost,
    0 for reused runs.
    """

    values: tuple[float, ...]
    pruned: bool = False
    runs: tuple[str, ...] = ()
    epochs: float = 0.0
    examples: int = 0
    seconds: float = 0.0
    taken_in: bool = False

    @property
    def value(self) -> float:
        """The mean over the seeds."""
        return statistics.fmean(self.values)


@dataclass(frozen=True, slots=True)
class Trial:
    """One evaluation of a point: one run per seed; numbers count from 0 within the study."""

    number: int
    point: Point
    outcome: Outcome

    @property
    def value(self) -> float:
        """The outcome's."""
        return self.outcome.value


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The expected value at an exponent, with its 95% interval."""

    exponent: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ExponentEstimate:
    """The most likely best exponent, with a 95% interval; `curve` is the fitted value at each exponent.

    `chosen` is the tried point with the lowest expected value. `gain` is how far that value is below the theory's, in
    the value's unit, with its 95% interval; infinite if the theory's training breaks down. `breaks_down` is the lowest
    exponent, above all that train, at which a trial broke down; None if none did. The
    gain's interval is the process's for the chosen point, whose choice it does not allow for: in a wide and shallow
    valley 8 to 12% of the intervals lie above the true gain, not 2.5% (tests/benchmarks/refine_coverage.py). An
    interval for all trials at once (Bonferroni) would not, but would never show a gain with a dozen trials of one seed.
    """

    exponent: float
    low: float
    high: float
    chosen: Point
    gain: float
    gain_low: float
    gain_high: float
    curve: tuple[CurvePoint, ...]
    breaks_down: float | None = None

    def holds(self, exponent: float) -> bool:
        """Whether the interval contains the exponent."""
        return self.low <= exponent <= self.high

    @property
    def gain_is_certain(self) -> bool:
        """Whether the whole interval of the gain is above 0."""
        return self.gain_low > 0


@dataclass(frozen=True, slots=True)
class TestResult:
    """The test accuracies of a point's runs in percent, one per seed."""

    __test__ = False  # not a test for pytest

    point: Point
    accuracies_percent: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PairedGain:
    """By what percentage the chosen point's value is below the theory's, seed by seed, with its 95% interval.

    The interval allows for the choice among `others`, the trials besides the theory's.
    """

    gain_percent: float
    low_percent: float
    high_percent: float
    seeds: int
    others: int


@dataclass(frozen=True, slots=True)
class Refinement:
    """The result of a refinement of one baseline for one target batch size.

    `estimate` is None if too few trials ended. `kept` is the point to use: the chosen one if its gain is certain, else
    the theory's. `epochs`, `examples` and `seconds` are the cost of the study's own runs.
    """

    study: str
    baseline: str
    batch_size: int
    target_batch_size: int
    validation_examples: int
    seeds: tuple[int, ...]
    metric: TrialMetric
    space: SearchSpace
    trials: tuple[Trial, ...]
    estimate: ExponentEstimate | None
    paired: PairedGain | None
    kept: Point
    epochs: float
    examples: int
    seconds: float
    tests: tuple[TestResult, ...]
    conclusion: str


def paired_gain(
    theory: Sequence[float], chosen: Sequence[float], trials: Sequence[Sequence[float]]
) -> PairedGain | None:
    """The gain from logarithms of values paired by seed; `trials` are those of all trials, including these two.

    The noise is that of all trials (`noise_of_means`), and the interval is Bonferroni's over all but the theory's: it
    holds for all of them at once, and so for the chosen one, however it was chosen. None for one seed or two identical
    trials.
    """
    noise, others, seeds = noise_of_means(trials), len(trials) - 1, len(theory)
    if noise is None or theory == chosen:
        return None
    mean = statistics.fmean(theory) - statistics.fmean(chosen)
    half = t_quantile(others * (seeds - 1), comparisons=others) * math.sqrt(2) * noise
    gain, low, high = (-100 * math.expm1(-log) for log in (mean, mean - half, mean + half))
    return PairedGain(gain, low, high, seeds, others)


def noise_of_means(trials: Sequence[Sequence[float]]) -> float | None:
    """The standard deviation of a trial's mean over the seeds that is due to the runs alone.

    `trials` holds a value for each seed. What the trials have in common for a seed is removed (trials are paired by
    seed): it is the residual of trial + seed. None for fewer than two trials or two seeds.
    """
    rows = [row for row in trials if all(map(math.isfinite, row))]
    if len(rows) < 2 or len(rows[0]) < 2:
        return None
    seeds = len(rows[0])
    of_seeds = [statistics.fmean(row[j] for row in rows) for j in range(seeds)]
    mean = statistics.fmean(of_seeds)
    squares = sum(
        (value - statistics.fmean(row) - of_seed + mean) ** 2
        for row in rows
        for value, of_seed in zip(row, of_seeds, strict=True)
    )
    return math.sqrt(squares / ((len(rows) - 1) * (seeds - 1)) / seeds)


def conclude(
    space: SearchSpace,
    estimate: ExponentEstimate | None,
    metric: TrialMetric,
    seeds: int,
    epochs: float,
    seconds: float,
) -> tuple[Point, str]:
    """The point to use, and the sentences that say why."""
    if estimate is None:
        return space.theory, "Too few trials ended to conclude anything, so the theory's exponent 0.5 is kept."
    point = estimate.chosen if estimate.gain_is_certain else space.theory
    return point, " ".join(_sentences(space, estimate, metric, seeds, epochs, seconds))


def _sentences(
    space: SearchSpace, estimate: ExponentEstimate, metric: TrialMetric, seeds: int, epochs: float, seconds: float
) -> Iterator[str]:
    yield (
        f"The best scaling exponent is {estimate.exponent:.2f}, 95% between {estimate.low:.2f} and "
        f"{estimate.high:.2f}: the theory's 0.5 is {'inside' if estimate.holds(0.5) else 'outside'}, the linear "
        f"rule's 1.0 {'inside' if estimate.holds(1.0) else 'outside'}."
    )
    bounds = space.dimensions[0]
    edges = [edge for edge in (bounds.low, bounds.high) if estimate.low <= edge <= estimate.high]
    if len(edges) == 2:
        yield "The interval covers the whole search range: within the noise, any exponent may be the best."
    elif edges:
        yield f"The interval ends at the bound of the search, {edges[0]:g}, rather than where the data end it."
    if estimate.breaks_down is not None:
        yield f"Training breaks down at {estimate.breaks_down:g}, so the best exponent is below that."
    gain = (
        f"{metric_text(estimate.gain, metric)} (95% {metric_text(estimate.gain_low, metric, unit=False)} to "
        f"{metric_text(estimate.gain_high, metric, unit=False)})"
    )
    price = f"{epochs:,.4g} epochs and {duration_text(seconds)}"
    if math.isinf(estimate.gain):
        yield f"The theory's 0.5 breaks down too: {point_text(space, estimate.chosen)} is used instead, for {price}."
    elif estimate.chosen == space.theory:
        yield f"No trial is expected to beat the theory's 0.5, which is kept; finding this out took {price}."
    elif estimate.gain_is_certain:
        yield f"{point_text(space, estimate.chosen)} gains {gain} over the theory, for {price}."
    else:
        yield (
            f"The gain of {point_text(space, estimate.chosen)} over the theory is {gain}, for {price}: "
            "within the noise, so 0.5 is kept."
        )
    if estimate.chosen != space.theory and not math.isinf(estimate.gain):
        yield (
            "The gain's interval does not allow for the choice of the best trial, and may promise too much: confirm "
            "the gain with fresh seeds."
        )
    if seeds == 1:
        yield "With one seed per trial, the noise is estimated from the trials' scatter around their curve."


def metric_text(value: float, metric: TrialMetric, *, unit: bool = True) -> str:
    """A difference of values as text: points of error, or of the loss in its own unit."""
    number = f"{value:.2f}" if metric == "error" else f"{value:.4f}"
    return number + " points" * (unit and metric == "error")
