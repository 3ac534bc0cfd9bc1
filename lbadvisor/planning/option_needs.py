"""What each option of a request needs to change the plan: one that is given and changes nothing is refused."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from lbadvisor.errors import PlanError
from lbadvisor.planning.baseline import Baseline
from lbadvisor.planning.request import Request
from lbadvisor.planning.scaling import scaling_of
from lbadvisor.planning.weight_decay import has_horizon
from lbadvisor.recipe.parts import Part


@dataclass(frozen=True, slots=True)
class Planned:
    """What the words plan: a baseline, and the requests made of it, one for each arm; none for the baseline itself."""

    baseline: Baseline
    requests: tuple[Request, ...]


Known = TypeVar("Known")


@dataclass(frozen=True, slots=True)
class Need(Generic[Known]):
    """What an option needs of what is known, such as of what is planned; `otherwise` goes on from the option's name."""

    of: type[Known]
    met: Callable[[Known], bool]
    otherwise: str


def _adapts(part: Part) -> Need[Planned]:
    return Need(
        Planned,
        lambda planned: any(part in request.parts for request in planned.requests),
        f"has no effect without `{part}` among the parts to adapt: adapt it as well, or choose an arm that does",
    )


def _horizon_moves(planned: Planned) -> bool:
    asked = (replace(request, weight_decay="horizon") for request in planned.requests)
    return any(abs(scaling_of(planned.baseline, request).decay_factor - 1) > 1e-9 for request in asked)


LARGER = Need(
    Planned,
    lambda planned: any(r.target_batch_size != planned.baseline.batch_size for r in planned.requests),
    "has no effect: the target batch size is the baseline's own",
)
BATCH_NORM = Need(
    Planned,
    lambda planned: planned.baseline.has_batch_norm,
    "has no effect: the network has no batch norm, so no ghost batches",
)
BETAS = Need(
    Planned,
    lambda planned: planned.baseline.beta1 is not None or planned.baseline.beta2 is not None,
    "has no effect: the optimizer has no betas, as adam, adamw and rmsprop have",
)
DECAY = Need(
    Planned,
    lambda planned: has_horizon(planned.baseline),
    "has no effect: the baseline has no weight decay above 0 with a horizon to keep",
)
HORIZON = Need(
    Planned, _horizon_moves, "has no effect: learning rate and length leave the weight decay's horizon as it is"
)
WARMUP = Need(
    Planned,
    lambda planned: planned.baseline.warmup_updates is None,
    "has no effect: the baseline has a warm-up of its own, which is kept",
)

NEEDS: dict[str, tuple[Need[Planned], ...]] = {
    "lr_rule": (_adapts("lr"), LARGER),
    "ghost_batch_size": (BATCH_NORM, _adapts("ghost")),
    "betas": (BETAS, _adapts("lr"), LARGER),
    "weight_decay": (DECAY, HORIZON),
    "stretch_share": (_adapts("regime"), LARGER),
    "warmup_epochs": (WARMUP,),
    "noise_scale": (LARGER,),
    "devices": (BATCH_NORM,),
}
"""By the option's name in Python."""


def refuse_idle(options: Iterable[str], planned: Planned) -> None:
    """Raise `PlanError` for the first of the options that has no effect on what is planned."""
    for option in options:
        for need in NEEDS.get(option, ()):
            if not need.met(planned):
                raise PlanError(f"{option}= {need.otherwise}")
