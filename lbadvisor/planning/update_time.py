"""How long an update takes at each batch size: a fixed time, and a time for each example."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from lbadvisor.errors import PlanError
from lbadvisor.records.numerals import duration_text


@dataclass(frozen=True, slots=True)
class Ranged:
    """A number, and the ends of its 95% interval, which are the number itself if it was given without one."""

    middle: float
    low: float
    high: float

    @property
    def ends(self) -> tuple[float, float] | tuple[None, None]:
        """Both ends, or None twice if there is no interval."""
        return (None, None) if self.low == self.high else (self.low, self.high)

    @property
    def text(self) -> str:
        """The number of seconds in a readable unit, and its interval."""
        within = "" if self.low == self.high else f" ({duration_text(self.low)} to {duration_text(self.high)})"
        return duration_text(self.middle) + within

    def times(self, other: "Ranged") -> "Ranged":
        """The product of two positive numbers; its ends multiply both intervals' ends, so it is no narrower than 95%.

        At the ends of two intervals of 95% that err independently, at least 90% are certain, and more of a product.
        """
        return Ranged(self.middle * other.middle, self.low * other.low, self.high * other.high)

    def scaled(self, factor: float) -> "Ranged":
        """As many times as much."""
        return Ranged(factor * self.middle, factor * self.low, factor * self.high)

    def over(self, other: "Ranged") -> "Ranged":
        """The quotient, likewise."""
        return self.times(Ranged(1 / other.middle, 1 / other.high, 1 / other.low))


@dataclass(frozen=True, slots=True)
class TimedUpdate:
    """The seconds that one update takes at a batch size."""

    batch_size: int
    seconds: Ranged


@dataclass(frozen=True, slots=True)
class Line:
    """fixed + per_example * B, in seconds."""

    fixed_seconds: float
    seconds_per_example: float

    def at(self, examples: float) -> float:
        """Seconds for an update of so many examples."""
        return self.fixed_seconds + self.seconds_per_example * examples


@dataclass(frozen=True, slots=True)
class UpdateTime:
    """Seconds per update: as timed where a batch size was timed, and elsewhere by a line fitted to those.

    `timed` holds two batch sizes or more in ascending order. `misfit` is the largest error of `line` at a timed size,
    as a share.
    """

    timed: tuple[TimedUpdate, ...]
    line: Line
    misfit: float

    def at(self, examples: int) -> Ranged:
        """Seconds for an update of so many examples on one device; with an interval, of lines through its ends."""
        for timed in self.timed:
            if timed.batch_size == examples:
                return timed.seconds
        sides = zip(*((one.seconds.middle, one.seconds.low, one.seconds.high) for one in self.timed), strict=True)
        sizes = [one.batch_size for one in self.timed]
        return Ranged(*(_fitted(sizes, side).at(examples) for side in sides))


def update_time(timed: Sequence[TimedUpdate]) -> UpdateTime:
    """The time of an update from two timed batch sizes or more. Raises `PlanError` for fewer."""
    by_size = tuple(sorted(timed, key=lambda one: one.batch_size))
    if len({one.batch_size for one in by_size}) != len(by_size):
        raise PlanError("a batch size has two rates: give one")
    if len(by_size) < 2:
        raise PlanError("one rate does not tell how the time of an update grows with its batch: give two batch sizes")
    line = _fitted([one.batch_size for one in by_size], [one.seconds.middle for one in by_size])
    misfit = max(abs(line.at(one.batch_size) / one.seconds.middle - 1) for one in by_size)
    return UpdateTime(by_size, line, misfit)


def _fitted(sizes: Sequence[int], seconds: Sequence[float]) -> Line:
    """The line without negative terms whose relative errors have the smallest sum of squares."""
    weights = [each**-2 for each in seconds]
    size, time = fmean(sizes, weights), fmean(seconds, weights)
    points = list(zip(weights, (one - size for one in sizes), seconds, strict=True))
    slope = sum(w * x * (t - time) for w, x, t in points) / sum(w * x * x for w, x, _ in points)
    if slope < 0:
        return Line(time, 0.0)
    if slope * size > time:
        each = [t / b for t, b in zip(seconds, sizes, strict=True)]
        return Line(0.0, fmean(each, [(b / t) ** 2 for t, b in zip(seconds, sizes, strict=True)]))
    return Line(time - slope * size, slope)
