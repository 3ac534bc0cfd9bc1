"""A run's measurements as columns: what curves of many long runs are computed from."""

from array import array
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Columns:
    """The measurements of one run, one array of 64-bit floats per column, all equally long and by update.

    The columns are those of `Measurement`. There is no nan: inf stands for every number that is not finite, and for an
    accuracy where nothing was evaluated. A run has one batch size, so the clock gives its further columns: update u
    lies at `epochs_per_update * u` epochs and `examples_per_update * u` examples; both are nan where nothing was
    measured.
    """

    epochs_per_update: float
    examples_per_update: float
    update: "array[float]"
    seconds: "array[float]"
    loss: "array[float]"
    lr: "array[float]"
    gradient_norm: "array[float]"
    clipped_share: "array[float]"
    weight_distance: "array[float]"
    evaluation_accuracy_percent: "array[float]"
