"""What a curve is drawn over, and where on it a measurement stands."""

from enum import StrEnum

from lbadvisor.records.run import Measurement


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


def reaches(last: Measurement, axis: Axis, value: float) -> bool:
    """Whether a run whose last measurement is `last` got as far as `value` on the axis.

    One that a further update would carry beyond it did: lengths in epochs are rounded to whole updates.
    """
    position = position_of(last, axis)
    return position >= value or position + position / last.update > value
