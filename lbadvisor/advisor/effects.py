"""Which fields of a request change nothing for a baseline, whatever their value: giving one is a mistake."""

from lbadvisor.advisor import weight_decay
from lbadvisor.advisor.baseline import Baseline
from lbadvisor.advisor.request import Request


def without_effect(baseline: Baseline, request: Request) -> dict[str, str]:
    """The fields of `request` that have no effect on the plan for `baseline`, each with the reason.

    Fields: lr_rule, betas, weight_decay, ghost_batch_size, stretch_share.
    """
    left_out = {part: f"`{part}` is not among the parts to adapt" for part in ("lr", "ghost", "regime")}
    left_out = {part: why for part, why in left_out.items() if part not in request.parts}
    found: dict[str, str] = {}
    if "lr" in left_out:
        found |= {"lr_rule": left_out["lr"], "betas": left_out["lr"]}
    elif baseline.beta2 is None:
        found["betas"] = f"{baseline.optimizer} has no betas"
    if "ghost" in left_out or not baseline.has_batch_norm:
        found["ghost_batch_size"] = left_out.get("ghost", "the network has no batch norm")
    if "regime" in left_out:
        found["stretch_share"] = left_out["regime"]
    if not request.parts:
        found["weight_decay"] = "nothing is adapted"
    elif not weight_decay.has_horizon(baseline):
        found["weight_decay"] = "there is no weight decay whose horizon could be kept"
    return found
