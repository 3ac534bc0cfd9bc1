"""What one update sees. B examples of a batch, F features."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from torch import Tensor


@dataclass(frozen=True, slots=True)
class UpdateBatch:
    """Inputs (B, ...) and targets (B, ...), with each example's weight in the loss and dropout factors, if any.

    On a rank they are its share: those from place `first` on of a batch of `size` examples in all; None: all of it.
    """

    inputs: Tensor
    targets: Tensor
    weights_B: Tensor | None = None
    factors_BF: Tensor | None = None
    first: int = 0
    size: int | None = None

    @property
    def whole_size(self) -> int:
        """The examples of the batch, those of other ranks among them."""
        return len(self.targets) if self.size is None else self.size

    def cut(self, sizes: tuple[int, ...]) -> Iterator[Self]:
        """What there is here, in parts of `sizes` examples."""
        first = self.first
        weights, factors = split(self.weights_B, sizes), split(self.factors_BF, sizes)
        parts = zip(self.inputs.split(sizes), self.targets.split(sizes), weights, factors, strict=True)
        for inputs, targets, weights_B, factors_BF in parts:
            yield type(self)(inputs, targets, weights_B, factors_BF, first, self.size)
            first += len(targets)

    def begin(self, size: int) -> Self:
        """What there is here of the first `size` examples of the batch."""
        here = slice(0, max(0, size - self.first))
        weights_B, factors_BF = (None if rows is None else rows[here] for rows in (self.weights_B, self.factors_BF))
        return type(self)(self.inputs[here], self.targets[here], weights_B, factors_BF, self.first, size)


def split(rows: Tensor | None, sizes: tuple[int, ...]) -> tuple[Tensor | None, ...]:
    """The rows in parts of `sizes`; None of no rows."""
    return (None,) * len(sizes) if rows is None else rows.split(sizes)
