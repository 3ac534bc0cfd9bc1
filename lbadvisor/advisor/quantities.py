"""What a run has a number of: the words of a column such as `best accuracy`, and where in a result it stands."""

from dataclasses import dataclass

from lbadvisor.advisor.comparison import Better
from lbadvisor.advisor.records import Measurement


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of a run.

    `words` is what users call it, `one` its singular; `key` the beginning or end of a metric's name, with its unit;
    `label` a table's word. `field` is that of `Measurement`, None for what a run has once: `clipped_percent` of its
    result, or `test_accuracy_percent` of the run. `evaluated`: only evaluations have it.
    """

    words: str
    one: str
    key: str
    final_key: str
    label: str
    better: Better
    field: str | None
    evaluated: bool = False


_HIGHER, _LOWER, _NEITHER = Better.HIGHER, Better.LOWER, Better.NEITHER
_QUANTITIES = (
    Quantity("accuracy", "accuracy", "accuracy_percent", "final_accuracy_percent", "accuracy, %", _HIGHER,
             "evaluation_accuracy_percent", evaluated=True),
    Quantity("evaluation loss", "evaluation loss", "evaluation_loss", "final_evaluation_loss", "evaluation loss",
             _LOWER, "evaluation_loss", evaluated=True),
    Quantity("training loss", "training loss", "training_loss", "final_training_loss", "training loss", _LOWER, "loss"),
    Quantity("weight distance", "weight distance", "weight_distance", "weight_distance", "weight distance", _NEITHER,
             "weight_distance"),
    Quantity("gradient norm", "gradient norm", "gradient_norm", "gradient_norm", "gradient norm", _NEITHER,
             "gradient_norm"),
    Quantity("learning rate", "learning rate", "lr", "final_lr", "learning rate", _NEITHER, "lr"),
    Quantity("updates", "update", "update", "updates", "updates", _NEITHER, "update"),
    Quantity("epochs", "epoch", "epochs", "epochs", "epochs", _LOWER, "epoch"),
    Quantity("examples", "example", "examples", "examples", "examples", _LOWER, "examples"),
    Quantity("seconds", "second", "seconds", "seconds", "seconds", _LOWER, "seconds"),
    Quantity("clipped updates", "clipped updates", "clipped_percent", "clipped_percent", "clipped updates, %", _NEITHER,
             None),
    Quantity("test accuracy", "test accuracy", "test_accuracy_percent", "test_accuracy_percent", "test accuracy, %",
             _HIGHER, None),
)  # fmt: skip
QUANTITIES = {quantity.words: quantity for quantity in _QUANTITIES}


def value_of(quantity: Quantity, measurement: Measurement | None) -> float | None:
    """The number in a measurement; None where there is none."""
    if measurement is None or quantity.field is None:
        return None
    value: float | None = getattr(measurement, quantity.field)
    return value
