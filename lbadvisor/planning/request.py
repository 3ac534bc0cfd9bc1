"""A request to the advisor."""

from dataclasses import dataclass, field, fields
from typing import Literal

from lbadvisor.planning import rules
from lbadvisor.planning.distances import Distances
from lbadvisor.planning.knowledge import Knowledge
from lbadvisor.planning.rules import LrRule
from lbadvisor.recipe.parts import Part

BetasRule = Literal["auto", "sde", "half-life", "keep"]
WeightDecayRule = Literal["auto", "keep", "horizon"]
NoiseKind = Literal["gaussian", "bernoulli"]


@dataclass(frozen=True, slots=True)
class Request:
    """The target batch size, the parts to adapt, and the rules to adapt them by.

    `betas` and `weight_decay` name rules; "auto" picks the one that fits the optimizer and the batch ratio.
    `stretch_share` is the share of the baseline's updates that the regime keeps: 1 for all, 0.5 for half the stretch.
    The rest adds to the adaptation: a learning-rate warm-up of at most `warmup_epochs`, a kind of multiplicative noise,
    the probabilities of a `[regularization]` table, and the weight distances of the milestones; None adds nothing.
    `known` changes nothing: it is what the forecast and the warnings can tell more with. Batch sizes are in examples.
    The defaults are those of Hoffer et al. 2017 (arXiv:1705.08741); each line of a plan names its rule's own source.
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
    distances: Distances | None = None
    known: Knowledge = field(default_factory=Knowledge)


_NOTED = ("target_batch_size", "parts", "lr_rule", "stretch_share", "known")
_ADDED = ("warmup_epochs", "noise", "dropout", "label_noise", "drop_connect", "distances")


def options_of(request: Request) -> tuple[str, ...]:
    """The request's options that are not defaults, apart from parts, learning-rate rule and additions.

    In words for a name, such as ghost3 and betas-keep.
    """
    asked = {
        option.name: value
        for option in fields(Request)
        if option.name not in _NOTED + _ADDED and (value := getattr(request, option.name)) != option.default
    }
    return tuple(
        f"ghost{value}" if name == "ghost_batch_size" else f"{name.replace('_', '-')}-{value}"
        for name, value in asked.items()
    )
