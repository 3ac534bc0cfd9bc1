"""What a curve is drawn over."""

from enum import StrEnum


class Axis(StrEnum):
    """What a curve is drawn over; `records.quantities.CLOCKS` has the quantity that each shows."""

    UPDATE = "update"
    EPOCH = "epoch"
    EXAMPLE = "example"
    SECOND = "second"
