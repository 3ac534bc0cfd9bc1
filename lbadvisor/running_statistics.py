"""How ghost batch norm's running statistics follow from its ghosts: the known definitions, by name.

Notation: m the momentum, n the ghosts of a batch, g the examples of a ghost, B those of a batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

RunningStatistics = Literal["sequential", "per-update", "mean", "mean-biased", "total"]
MOMENTUM = 0.1
"""Default weight of a new statistic, as in torch and the released code."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition: how an update changes the running statistics, who defines it so, and what to know about it.

    `horizon_ghosts` computes how many ghosts the statistics average over, from m and n: a moving average of weight w is
    as precise as a plain mean of (2 - w)/w observations; an observation is one ghost, or all n of a batch.
    """

    formula: str
    horizon_ghosts: Callable[[float, float], float]
    source: str
    validity: str


def _averaged(weight: float) -> float:
    """Number of observations whose plain mean is as precise as a moving average with this `weight`: 19 for 0.1."""
    return (2 - weight) / weight


DEFINITIONS: dict[RunningStatistics, Definition] = {
    "sequential": Definition(
        "g (2 - m) / m: n updates with m",
        lambda m, _: _averaged(m),
        "github eladhoffer/bigBatch, main_gbn.py: batch norm on each ghost in turn; TabNet with m = 0.01",
        "horizon kept in examples, as in the baseline; it covers the spread between (2 - m)/m ghosts",
    ),
    "per-update": Definition(
        "g (2 - m/n) / (m/n): n updates with m / n",
        lambda m, n: _averaged(m / n),
        "github mosaicml/composer, ghost_batchnorm.py",
        "horizon kept in updates: steadier statistics of older weights",
    ),
    "mean": Definition(
        "B (2 - m) / m: one update with the mean over ghosts of mean and unbiased variance",
        lambda m, n: n * _averaged(m),
        "github keras-team/tf-keras, virtual_batch_size; davidcpage/cifar10-fast",
        "horizon kept in updates; without the variance of the ghosts' means",
    ),
    "mean-biased": Definition(
        "B (2 - m) / m: one update with the mean over ghosts of mean and biased variance",
        lambda m, n: n * _averaged(m),
        "ghost noise, arXiv:2305.17205, github epfml/ghost-noise",
        "horizon kept in updates; the variance that normalizes, too small by 1/g in layers without spatial dimensions",
    ),
    "total": Definition(
        "B (2 - m) / m: one update with mean and variance of the whole batch",
        lambda m, n: n * _averaged(m),
        "Summers, Dinneen 2020, arXiv:1906.03548; github google/init2winit, VirtualBatchNorm",
        "horizon kept in updates; the ghosts' variance and that of their means (law of total variance)",
    ),
}


def horizon_examples(definition: RunningStatistics, momentum: float, batch_size: int, ghost_batch_size: int) -> float:
    """Number of examples whose plain mean is as precise as the running statistics."""
    return ghost_batch_size * DEFINITIONS[definition].horizon_ghosts(momentum, batch_size / ghost_batch_size)
