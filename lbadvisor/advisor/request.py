"""What is asked of the advisor."""

from dataclasses import dataclass
from typing import Literal

from lbadvisor.advisor import rules
from lbadvisor.advisor.parts import Part
from lbadvisor.advisor.rules import LrRule

BetasRule = Literal["auto", "sde", "half-life", "keep"]
WeightDecayRule = Literal["auto", "keep", "horizon"]
NoiseKind = Literal["gaussian", "bernoulli"]


@dataclass(frozen=True, slots=True)
class Request:
    """The target batch size, the parts to adapt, and the rules to adapt them by.

    `betas` and `weight_decay` are rules by name; "auto" is the one that fits the optimizer and the batch ratio.
    `stretch_share` is what the regime keeps of the baseline's updates: 1 all of them, 0.5 half the stretch. The rest is
    added to the adaptation: a warm-up of the learning rate of at most `warmup_epochs`, multiplicative noise of a kind,
    and the probabilities of a `[regularization]` table; None: nothing.
    """

    target_batch_size: int
    parts: tuple[Part, ...]
    lr_rule: LrRule = rules.SQRT
    ghost_batch_size: int | None = None
    betas: BetasRule = "auto"
    weight_decay: WeightDecayRule = "auto"
    stretch_share: float = 1.0
    warmup_epochs: float | None = None
    noise: NoiseKind | None = None
    dropout: float | None = None
    label_noise: float | None = None
    drop_connect: float | None = None
