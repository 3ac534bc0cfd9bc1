"""A run's measurements as columns: what curves of many long runs are computed from."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass

from lbadvisor.records.quantities import DRAWN, SECONDS, UPDATE

COLUMNS = (UPDATE, SECONDS, *DRAWN)
"""The quantities that are read as columns."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The measurements of one run, in `of` an array of 64-bit floats for each of `COLUMNS`, by its key.

    The arrays are equally long and by update. There is no nan: inf stands for every number that is not finite, and for
    what only an evaluation gives, where there was none. A run has one batch size, so the clock gives its further
    columns: update u lies at `epochs_per_update * u` epochs and `examples_per_update * u` examples; both are nan if
    nothing was measured.
    """

    epochs_per_update: float
    examples_per_update: float
    of: Mapping[str, "array[float]"]
