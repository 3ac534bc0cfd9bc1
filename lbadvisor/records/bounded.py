"""A measured number with its 95% interval."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounded:
    """A number and the ends of its 95% interval; both are None if it is not known, or unbounded on both sides."""

    value: float
    low: float | None = None
    high: float | None = None

    def mapped(self, monotone: Callable[[float], float]) -> "Bounded":
        """The estimate of a function of the number that only rises, or only falls."""
        ends = [] if self.low is None or self.high is None else sorted((monotone(self.low), monotone(self.high)))
        return Bounded(monotone(self.value), *(ends or (None, None)))

    def times(self, factor: float) -> "Bounded":
        """The estimate of so many times the number."""
        return self.mapped(lambda number: number * factor)

    def excludes(self, number: float, by: float = 0.0) -> bool:
        """Whether the interval is known, and all of it is farther than `by` from a number."""
        return self.low is not None and self.high is not None and not self.low - by <= number <= self.high + by

    def within(self, form: str, lead: str = "") -> str:
        """The interval behind the number's text, such as ` (0.38 to 0.44)`; nothing if it is not known."""
        return "" if self.low is None or self.high is None else f" ({lead}{self.low:{form}} to {self.high:{form}})"

    def text(self, form: str, lead: str = "") -> str:
        """Such as `0.41 (0.38 to 0.44)`."""
        return f"{self.value:{form}}{self.within(form, lead)}"
