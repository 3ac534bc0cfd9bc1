"""What another trainer will really do with its batch size, whichever trainer it is."""

import math
from dataclasses import dataclass
from typing import Literal

from lbadvisor.planning.baseline import OptimizerSettings
from lbadvisor.planning.rules import LrRule

Kept = Literal["epochs", "updates"]
"""What a trainer's schedule is written in, and so what a larger batch leaves as it is."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A number of a trainer: what it is, its value, and where it comes from."""

    what: str
    value: float
    source: str


@dataclass(frozen=True, slots=True)
class ForeignOptimizer:
    """A trainer's optimizer: the name it has here, its name there without one; and what it sets of it."""

    name: str
    settings: OptimizerSettings


@dataclass(frozen=True, slots=True)
class Foreign:
    """A trainer's setting, and what its own rules make of it.

    `factors` multiply to the examples of an update. `lr` is as written; the trainer multiplies it by `lr_factor`, by
    its own `rule`. `reference` is the batch size at which the setting takes `lr` to be tuned, None if it names none.
    `stretch` multiplies the epochs. `statistics` are the examples that a batch-norm statistic spans, None without batch
    norm; `clipping` is the norm that every update is clipped to. `notes` are sentences.
    """

    trainer: str
    factors: tuple[Fact, ...]
    optimizer: ForeignOptimizer
    lr: Fact
    rule: LrRule
    rule_source: str
    length: Kept
    length_source: str
    lr_factor: float = 1.0
    reference: Fact | None = None
    stretch: float = 1.0
    statistics: Fact | None = None
    clipping: Fact | None = None
    notes: tuple[str, ...] = ()

    @property
    def batch_size(self) -> int:
        """The examples of an update, on all devices."""
        return int(math.prod(factor.value for factor in self.factors))


_NAMES = {"momentum": "sgd", "nesterov": "sgd", "sgdp": "SGDP", "fusedsgd": "sgd", "fusedadam": "adam"}


def optimizer_name(name: str) -> str:
    """The optimizer's name here, such as adamw for adamw_torch_fused; a name that is not known here stays."""
    word = name.lower()
    return "adamw" if word.startswith(("adamw_", "fusedadamw")) or word == "adamw" else _NAMES.get(word, word)
