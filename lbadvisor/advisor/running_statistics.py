"""How ghost batch norm's running statistics follow from its ghosts: the definitions in use, by name.

Notation: m the momentum, n the ghosts of a batch, g the examples of a ghost, B those of a batch.
"""

from dataclasses import dataclass
from typing import Literal

RunningStatistics = Literal["sequential", "per-update", "mean", "mean-biased", "total"]
MOMENTUM = 0.1
"""The weight of a new statistic where none is given, torch's and the released code's."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition: what an update does to the running statistics, who defines them so, and what is to be known.

    `horizon` says whose examples the statistics span, times 1/m: a ghost's or the whole batch's.
    """

    formula: str
    horizon: Literal["ghost", "batch"]
    source: str
    validity: str


DEFINITIONS: dict[RunningStatistics, Definition] = {
    "sequential": Definition(
        "g / m: n updates with m",
        "ghost",
        "github eladhoffer/bigBatch, main_gbn.py: batch norm on each ghost in turn; TabNet with m = 0.01",
        "horizon kept in examples, the baseline's; the spread between ghosts is seen over 1/m ghosts",
    ),
    "per-update": Definition(
        "B / m: n updates with m / n",
        "batch",
        "github mosaicml/composer, ghost_batchnorm.py",
        "horizon kept in updates: steadier statistics of older weights",
    ),
    "mean": Definition(
        "B / m: one update with the mean over ghosts of mean and unbiased variance",
        "batch",
        "github keras-team/tf-keras, virtual_batch_size; davidcpage/cifar10-fast",
        "horizon kept in updates; without the variance of the ghosts' means",
    ),
    "mean-biased": Definition(
        "B / m: one update with the mean over ghosts of mean and biased variance",
        "batch",
        "ghost noise, arXiv:2305.17205, github epfml/ghost-noise",
        "horizon kept in updates; the variance as it normalizes, too small by 1/g where a layer has no space",
    ),
    "total": Definition(
        "B / m: one update with mean and variance of the whole batch",
        "batch",
        "Summers, Dinneen 2020, arXiv:1906.03548; github google/init2winit, VirtualBatchNorm",
        "horizon kept in updates; the ghosts' variance and that of their means (law of total variance)",
    ),
}


def horizon_examples(definition: RunningStatistics, momentum: float, batch_size: int, ghost_batch_size: int) -> float:
    """Examples over which the running statistics average: 1/m ghosts, or 1/m batches."""
    spans = ghost_batch_size if DEFINITIONS[definition].horizon == "ghost" else batch_size
    return spans / momentum
