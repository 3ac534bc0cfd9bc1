"""Weight decay and its horizon: the number of updates over which the weights would forget if nothing else moved them.

SGD's decay goes through the gradient and so through the momentum: (1 - momentum)/(lr * decay). AdamW's acts on the
weights: 1/(lr * decay). With Adam and RMSprop it is divided, like the gradient, by a root mean square v that is not
known in advance, and that falls with the square root of the batch while noise dominates. Adagrad has no horizon: v
only grows.
"""

import math
from typing import Literal

from lbadvisor.planning.baseline import Baseline
from lbadvisor.planning.request import Request
from lbadvisor.planning.rules import HOFFER, MALLADI, Rule
from lbadvisor.recipe.catalog import OPTIMIZERS

WANG = "Wang, Aitchison 2024, arXiv:2405.13698"

AppliedDecay = Literal["keep", "horizon"]
"""The rules, without "auto"."""

_BATCH_NORM = "for weights before batch norm, decay sets the effective learning rate instead"


def has_horizon(baseline: Baseline) -> bool:
    """Whether the baseline has weight decay with a horizon, from the start or from a milestone on."""
    decays = (baseline.weight_decay, *baseline.milestone_decays)
    return any(decays) and OPTIMIZERS[baseline.optimizer].divides_by != "sum"


def applied_decay(baseline: Baseline, request: Request) -> AppliedDecay:
    """The rule that the request means: "auto" keeps AdamW's horizon if the learning rate is adapted.

    A request that adapts nothing, or has no horizon to keep, keeps the decay.
    """
    if request.weight_decay == "keep" or not request.parts or not has_horizon(baseline):
        return "keep"
    if request.weight_decay == "horizon":
        return "horizon"
    return "horizon" if OPTIMIZERS[baseline.optimizer].decoupled_decay and "lr" in request.parts else "keep"


def horizon_updates(baseline: Baseline) -> float | None:
    """The horizon of the baseline's weight decay in updates; None if it is not known in advance."""
    facts, decay, lr = OPTIMIZERS[baseline.optimizer], baseline.weight_decay, baseline.lr
    if not decay or lr is None:
        return None
    if facts.decoupled_decay:
        return 1 / (lr * decay)
    if facts.divides_by == "nothing":
        return (1 - (baseline.momentum or 0.0)) / (lr * decay)
    return None


def horizon_factor(baseline: Baseline, batch_ratio: float, lr_factor: float, decay_factor: float) -> float:
    """The factor by which the horizon grows, in updates, at the target."""
    facts = OPTIMIZERS[baseline.optimizer]
    divided = facts.divides_by == "average" and not facts.decoupled_decay
    root_mean_square = 1 / math.sqrt(batch_ratio) if divided else 1.0
    return root_mean_square / (lr_factor * decay_factor)


def horizon_rule(baseline: Baseline) -> Rule:
    """The rule behind `horizon_updates` and `horizon_factor`."""
    facts = OPTIMIZERS[baseline.optimizer]
    plain = f"weights without batch norm; {_BATCH_NORM}"
    if facts.decoupled_decay:
        return Rule("horizon", "1 / (lr * decay)", WANG, plain)
    if facts.divides_by == "nothing":
        formula = "(1 - momentum) / (lr * decay)" if baseline.momentum else "1 / (lr * decay)"
        return Rule("horizon", formula, f"{WANG}, for AdamW; momentum adds up 1 / (1 - momentum) decays", plain)
    return Rule("horizon", "sqrt(v) / (lr * decay)", f"v falls as 1 / r while noise dominates: {MALLADI}", plain)


def decay_factor(baseline: Baseline, batch_ratio: float, lr_factor: float, fewer: float, rule: AppliedDecay) -> float:
    """The factor for the weight decay, unitless.

    "horizon" keeps the horizon as a share of the run, which has `fewer` times fewer updates; "keep" keeps the decay.
    """
    return 1.0 if rule == "keep" else fewer * horizon_factor(baseline, batch_ratio, lr_factor, 1.0)


def decay_rule(baseline: Baseline, request: Request, rule: AppliedDecay) -> Rule:
    """The rule behind `decay_factor`."""
    facts, share = OPTIMIZERS[baseline.optimizer], request.stretch_share
    if rule == "keep":
        source = f"{HOFFER}: not rescaled" if facts.divides_by == "nothing" else "the baseline's"
        return Rule("keep", "decay", source, "its horizon moves, see the next line")
    formula, span = "decay * lr_S / lr_L", "updates"
    if "regime" not in request.parts:
        formula, span = f"{formula} * r", "examples"
    elif share != 1:
        formula, span = f"{formula} / {share:g}", "shares of the run"
    if facts.divides_by == "average" and not facts.decoupled_decay:
        formula = f"{formula} / sqrt(r)"
    shown = "shown for AdamW" if facts.decoupled_decay else "shown for AdamW alone"
    return Rule("horizon", formula, WANG, f"keeps the horizon in {span}; {shown}")
