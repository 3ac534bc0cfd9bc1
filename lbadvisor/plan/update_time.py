"""How long an update takes at each batch size: a fixed time, and a time for each example."""

from collections.abc import Sequence
from dataclasses import dataclass

from lbadvisor.errors import PlanError


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

    def times(self, other: "Ranged") -> "Ranged":
        """The product of two positive numbers; its ends multiply both intervals' ends, so it is no narrower than 95%.

        At the ends of two intervals of 95% that err independently, at least 90% are certain, and more of a product.
        """
        return Ranged(self.middle * other.middle, self.low * other.low, self.high * other.high)


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

    `timed` holds two batch sizes or more in ascending order; `low` and `high` are fitted to the ends of their
    intervals. `misfit` is the largest error of `line` at a timed size, as a share.
    """

    timed: tuple[TimedUpdate, ...]
    line: Line
    low: Line
    high: Line
    misfit: float

    def at(self, examples: int) -> Ranged:
        """Seconds for an update of so many examples on one device."""
        for timed in self.timed:
            if timed.batch_size == examples:
                return timed.seconds
        return Ranged(*(line.at(examples) for line in (self.line, self.low, self.high)))


def update_time(timed: Sequence[TimedUpdate]) -> UpdateTime:
    """The time of an update from two timed batch sizes or more. Raises `PlanError` for fewer."""
    by_size = tuple(sorted(timed, key=lambda one: one.batch_size))
    if len({one.batch_size for one in by_size}) != len(by_size):
        raise PlanError("a batch size has two rates: give one")
    if len(by_size) < 2:
        raise PlanError("one rate does not tell how the time of an update grows with its batch: give two batch sizes")
    line = _fitted([(one.batch_size, one.seconds.middle) for one in by_size])
    return UpdateTime(
        timed=by_size,
        line=line,
        low=_fitted([(one.batch_size, one.seconds.low) for one in by_size]),
        high=_fitted([(one.batch_size, one.seconds.high) for one in by_size]),
        misfit=max(abs(line.at(one.batch_size) / one.seconds.middle - 1) for one in by_size),
    )


def _fitted(points: Sequence[tuple[int, float]]) -> Line:
    """The line without negative terms whose relative errors at the points have the smallest sum of squares."""
    # Regress 1 on u = 1/t and v = B/t.
    u = [1 / seconds for _, seconds in points]
    v = [examples / seconds for examples, seconds in points]
    uu, uv, vv, su, sv = _dot(u, u), _dot(u, v), _dot(v, v), sum(u), sum(v)
    determinant = uu * vv - uv * uv
    fixed, slope = (su * vv - sv * uv) / determinant, (sv * uu - su * uv) / determinant
    if slope < 0:
        return Line(su / uu, 0.0)
    return Line(0.0, sv / vv) if fixed < 0 else Line(fixed, slope)


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))
