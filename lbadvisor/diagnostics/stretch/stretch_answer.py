"""What a larger batch really saves: the smallest stretch that closes the gap, what it costs, and what was predicted."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lbadvisor.comparison.comparison import Estimate
from lbadvisor.comparison.stretch_search import Ending, StretchQuestion, StretchSearch, Verdict
from lbadvisor.planning.noise_scale import NoiseScale, predicted_stretch


@dataclass(frozen=True, slots=True)
class StretchOf:
    """What was stretched: the ladder's name, the baseline's, the batch sizes, and the devices that the runs were on."""

    ladder: str
    baseline: str
    batch_size: int
    target_batch_size: int
    devices: tuple[str, ...]

    @property
    def batch_ratio(self) -> float:
        """r, which is the full regime's stretch."""
        return self.target_batch_size / self.batch_size


@dataclass(frozen=True, slots=True)
class ArmCost:
    """What a run of an arm costs: its length, and the training seconds of each run that is complete."""

    arm: str
    updates: int
    epochs: float
    seconds: tuple[float, ...]

    @property
    def mean_seconds(self) -> float | None:
        """Of a run; None if none is complete."""
        return statistics.fmean(self.seconds) if self.seconds else None


@dataclass(frozen=True, slots=True)
class StretchRow:
    """One stretch, in times the baseline's epochs, and its share of the full regime's.

    `gap` is in points of error and paired by seed, `closed` in percent of the naive gap.
    """

    stretch: float
    share: float
    cost: ArmCost
    seeds: int
    gap: Estimate
    closed: Estimate
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class PredictedStretch:
    """(B_n + B_L)/(B_n + B_S) for the baseline's noise scale B_n, and its 95% interval, None if the scale has none."""

    noise_scale: NoiseScale
    stretch: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class StretchAnswer:
    """The answer of a search, its rows from the shortest stretch to the full regime.

    `smallest` is the first stretch that closes the gap, None if none does. `full_seconds` is the time of a run
    of the full regime, measured if `full_is_measured`, else computed from the measured rows; `saved_seconds` is what
    the smallest stretch saves of it. A time is None if it is not known.
    """

    of: StretchOf
    question: StretchQuestion
    ending: Ending
    naive: Estimate
    rows: tuple[StretchRow, ...]
    smallest: float | None
    baseline_seconds: float | None
    full_seconds: float | None
    full_is_measured: bool
    saved_seconds: float | None
    predicted: PredictedStretch | None

    @property
    def found(self) -> StretchRow | None:
        """The row of the smallest stretch that closes the gap."""
        return next((row for row in self.rows if row.stretch == self.smallest), None)

    @property
    def below(self) -> tuple[StretchRow, ...]:
        """The rows of the stretches below that one; all if none closes the gap."""
        return tuple(row for row in self.rows if self.smallest is None or row.stretch < self.smallest)

    @property
    def too_short(self) -> float:
        """The longest stretch below that one that is shown not to close the gap; 0 if none is."""
        return max((row.stretch for row in self.below if row.verdict.is_failure), default=0.0)


def stretch_answer(
    of: StretchOf,
    question: StretchQuestion,
    search: StretchSearch,
    baseline: ArmCost,
    costs: Sequence[ArmCost],
    noise_scale: NoiseScale | None,
) -> StretchAnswer:
    """The answer of a search that has ended; `costs` are those of its shares. Raises `ValueError` if it has not."""
    if search.ending is None:
        raise ValueError("the search has not ended")
    rows = tuple(
        StretchRow(one.share * of.batch_ratio, one.share, cost, one.seeds, one.gap, one.closed, one.verdict)
        for one, cost in zip(search.judged, costs, strict=True)
    )
    found = None if search.smallest is None else rows[search.judged.index(search.smallest)]
    measured, own = costs[-1].mean_seconds, None if found is None else found.cost.mean_seconds
    full = _at_full_length(costs) if measured is None else measured
    return StretchAnswer(
        of=of,
        question=question,
        ending=search.ending,
        naive=search.naive,
        rows=rows,
        smallest=None if found is None else found.stretch,
        baseline_seconds=baseline.mean_seconds,
        full_seconds=full,
        full_is_measured=measured is not None,
        saved_seconds=None if own is None or full is None else full - own,
        predicted=None if noise_scale is None else _predicted(of, noise_scale),
    )


def _at_full_length(costs: Sequence[ArmCost]) -> float | None:
    """The seconds of the last, by a straight line over the updates of those that were trained.

    A run has as many evaluations however long it is: the line starts at their time. Without a line that starts at 0 or
    above and rises, as of runs of one length, the time is in proportion to the updates.
    """
    lengths = [float(cost.updates) for cost in costs for _ in cost.seconds]
    times = [seconds for cost in costs for seconds in cost.seconds]
    if len(set(lengths)) > 1:
        line = statistics.linear_regression(lengths, times)
        if line.slope > 0 and line.intercept >= 0:
            return line.slope * costs[-1].updates + line.intercept
    return sum(times) / sum(lengths) * costs[-1].updates if times else None


def _predicted(of: StretchOf, scale: NoiseScale) -> PredictedStretch:
    found = predicted_stretch(scale, of.batch_size, of.target_batch_size)
    return PredictedStretch(scale, found.value, found.low, found.high)
