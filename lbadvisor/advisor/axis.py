"""What a curve is drawn over, and where on it a measurement stands."""

from enum import StrEnum

from lbadvisor.advisor.records import Measurement


class Axis(StrEnum):
    """What a curve is drawn over."""

    UPDATE = "update"
    EPOCH = "epoch"
    EXAMPLE = "example"
    SECOND = "second"


AXIS_FIELDS = {Axis.UPDATE: "update", Axis.EPOCH: "epoch", Axis.EXAMPLE: "examples", Axis.SECOND: "seconds"}
"""The field of `Measurement` that an axis shows; none of them ever falls from one update to the next."""


def position_of(measurement: Measurement, axis: Axis) -> float:
    """Where the measurement stands on the axis: updates, epochs, examples or seconds."""
    return float(getattr(measurement, AXIS_FIELDS[axis]))
