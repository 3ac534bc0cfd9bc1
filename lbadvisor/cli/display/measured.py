"""A measurement as text."""

from lbadvisor.comparison.results import is_evaluated
from lbadvisor.records.numerals import number_text
from lbadvisor.records.quantities import (
    ACCURACY,
    CLIPPED_SHARE,
    EPOCH,
    EVALUATION_LOSS,
    GRADIENT_NORM,
    LEARNING_RATE,
    LOSS,
    Quantity,
)
from lbadvisor.records.run import Measurement


def measured_text(quantity: Quantity, measurement: Measurement) -> str:
    """The quantity's value as its table shows it."""
    value = getattr(measurement, quantity.key)
    return number_text(None if value is None else quantity.factor * value, quantity.format)


def accuracy_text(measurement: Measurement | None) -> str:
    """Such as ` accuracy 98.15%`, or ` evaluation loss 0.1234` without one; nothing if there was no evaluation."""
    if measurement is None or not is_evaluated(measurement):
        return ""
    quantity = told_of(measurement)
    return f" {quantity.label} {told_text(quantity, measurement)}"


def told_text(quantity: Quantity, measurement: Measurement) -> str:
    """The quantity's value, with its unit if that is percent."""
    return measured_text(quantity, measurement) + ("%" if quantity.unit == "%" else "")


def told_of(measurement: Measurement) -> Quantity:
    """What is told of an evaluation: its accuracy, or its loss, if that is all there is, as of a regression."""
    return EVALUATION_LOSS if measurement.evaluation_accuracy_percent is None else ACCURACY


def facts_of(measurement: Measurement | None, loss: float | None = None) -> str:
    """Epoch, loss, learning rate, gradient norm, and the clipped share if there is one; only a `loss` before them.

    A `loss` is a later one than the measurement's.
    """
    latest = None if loss is None else number_text(loss, LOSS.format)
    if measurement is None:
        return "" if latest is None else f"loss {latest}"
    epoch, measured, lr, norm, clipped = (
        measured_text(quantity, measurement) for quantity in (EPOCH, LOSS, LEARNING_RATE, GRADIENT_NORM, CLIPPED_SHARE)
    )
    text = f"epoch {epoch} loss {latest or measured} lr {lr} |g| {norm}"
    return text + (f" clipped {clipped}%" if measurement.clipped_share else "")
