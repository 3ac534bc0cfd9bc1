"""How a larger batch changes the moving averages of Adam and RMSprop: three rules, and which one fits.

r is the batch ratio B_L/B_S, unitless. Malladi's rule scales both betas and needs r (1 - beta) < 1; beyond it beta2 can
still keep its half-life in examples, with beta1 kept (Marek's rule).
"""

import math
from typing import Literal

from lbadvisor.errors import PlanError
from lbadvisor.planning.baseline import Baseline
from lbadvisor.planning.request import BetasRule
from lbadvisor.planning.rules import MALLADI, Rule

MAREK = "Marek et al. 2025, arXiv:2507.07101"

AppliedBetas = Literal["sde", "half-life", "keep"]
"""The rules, without "auto"."""

SHORT_AVERAGE = 0.5
"""A smaller beta averages over fewer than two updates; Malladi's rule is derived for averages over many."""
NO_AVERAGE = 0.1
"""Below it hardly anything is averaged: "auto" no longer chooses Malladi's rule."""

_SDE = Rule("sde", "1 - r (1 - beta)", MALLADI, "r (1 - beta) well below 1; derived for updates / r")
_SDE_EPSILON = Rule("sde", "epsilon / sqrt(r)", MALLADI, _SDE.validity)
_HALF_LIFE = Rule(
    "half-life", "beta2^r", MAREK, "keeps beta2's half-life in examples; found on language models, with small batches"
)
_BETA1_KEPT = Rule("half-life", "beta1", f"{MAREK}: beta1 is kept", "it then averages r times as many examples")
_KEPT = Rule("keep", "beta", "the baseline's", "the averages then span r times as many examples")
_EPSILON_KEPT = Rule("keep", "epsilon", "the baseline's", "epsilon well below the gradients' root mean square")


def betas_rule(name: str, rule: AppliedBetas) -> Rule:
    """The rule behind `adapted_beta`, for `name` beta1 or beta2."""
    if rule == "half-life":
        return _HALF_LIFE if name == "beta2" else _BETA1_KEPT
    return _SDE if rule == "sde" else _KEPT


def adapted_beta(name: str, beta: float, ratio: float, rule: AppliedBetas) -> float:
    """A decay of Adam or RMSprop, `name` beta1 or beta2, for a batch `ratio` times larger.

    "sde": 1 - beta is multiplied by r (Malladi et al. 2022, arXiv:2205.10287), which may end at or below 0;
    "half-life": beta2^r keeps beta2's half-life in examples, beta1 stays (Marek et al. 2025, arXiv:2507.07101);
    "keep": beta. A beta of 0 averages nothing, and stays.
    """
    if rule == "sde" and beta:
        return 1 - ratio * (1 - beta)
    return float(beta**ratio) if rule == "half-life" and name == "beta2" else beta


def epsilon_rule(rule: AppliedBetas) -> Rule:
    """The rule behind `adapted_epsilon`."""
    return _SDE_EPSILON if rule == "sde" else _EPSILON_KEPT


def adapted_epsilon(epsilon: float, ratio: float, rule: AppliedBetas) -> float:
    """Epsilon for a batch `ratio` times larger: divided by sqrt(r) with Malladi's rule, else kept."""
    return epsilon / math.sqrt(ratio) if rule == "sde" else epsilon


def betas_of(baseline: Baseline) -> dict[str, float]:
    """The baseline's betas above 0 (those that average), by name; empty for an optimizer without betas."""
    return {name: beta for name, beta in (("beta1", baseline.beta1), ("beta2", baseline.beta2)) if beta}


def applied_betas(baseline: Baseline, ratio: float, asked: BetasRule) -> AppliedBetas:
    """The rule that `asked` means: "auto" is Malladi's while every average still averages, then Marek's.

    Raises `PlanError` if Malladi's rule is requested and r (1 - beta) reaches 1.
    """
    betas = betas_of(baseline)
    scaled = {name: adapted_beta(name, beta, ratio, "sde") for name, beta in betas.items()}
    if asked == "auto":
        return "sde" if all(beta >= NO_AVERAGE for beta in scaled.values()) else "half-life"
    broken = [name for name, beta in scaled.items() if beta < 1e-9]
    if asked == "sde" and broken:
        name = broken[0]
        raise PlanError(
            f"--betas sde breaks down here: {name} would be 1 - {ratio:g} * (1 - {betas[name]:g}) = "
            f"{scaled[name]:.3g}, and must stay above 0 ({MALLADI}); the largest target batch size that it allows is "
            f"{largest_target(baseline, 0)}; without --betas, beta1 is kept and beta2 keeps its half-life in examples"
        )
    return asked


def largest_target(baseline: Baseline, least: float) -> int:
    """The largest target batch size at which Malladi's rule leaves every beta above `least`."""
    span = (1 - least) / (1 - min(betas_of(baseline).values()))
    return math.ceil(baseline.batch_size * span - 1e-9) - 1
