"""What one update sees. B examples of a batch, F features."""

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

    def begin(self, size: int) -> Self:
        """What there is here of the first `size` examples of the batch."""
        here = slice(0, max(0, size - self.first))
        weights_B, factors_BF = (None if rows is None else rows[here] for rows in (self.weights_B, self.factors_BF))
        return type(self)(self.inputs[here], self.targets[here], weights_B, factors_BF, self.first, size)
