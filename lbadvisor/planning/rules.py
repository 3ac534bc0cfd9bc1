"""The rules behind every optimizer's plan: each formula with its source, its validity and the function.

Notation: B_S baseline batch size, B_L target batch size, r = B_L/B_S (unitless), N training examples.
"""

import math
from dataclasses import dataclass

from lbadvisor.errors import PlanError
from lbadvisor.recipe.suggestion import nearest

HOFFER = "Hoffer, Hubara, Soudry 2017, arXiv:1705.08741"
GOYAL = "Goyal et al. 2017, arXiv:1706.02677"
MALLADI = "Malladi et al. 2022, arXiv:2205.10287"
BUSBRIDGE = "Busbridge et al. 2023, arXiv:2307.13813"
HOFFER_CODE = "the paper's released code, github.com/eladhoffer/bigBatch"
PLAYBOOK = "Google Tuning Playbook, github.com/google-research/tuning_playbook"
SRIVASTAVA = "Srivastava et al. 2014, JMLR 15:1929"
WAN = "Wan et al. 2013, ICML, PMLR 28(3):1058"
XIE = "Xie et al. 2016, arXiv:1605.00055"
LI = "Li et al. 2018, arXiv:1801.05134"
OWN_CHOICE = "lbadvisor's own choice"
LEFT_OUT = "left out by --adapt"


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule behind a line of a plan: name, formula, source, and the range in which it is known to hold."""

    name: str
    formula: str
    source: str
    validity: str


@dataclass(frozen=True, slots=True)
class LrRule:
    """A rule for the learning rate: lr * r^exponent; an exponent of None is the finite-population form."""

    name: str
    exponent: float | None

    @property
    def formula(self) -> str:
        """The rule as a formula in r, B_S, B_L and N."""
        if self.exponent is None:
            return "lr * sqrt(B_L (N - B_S) / (B_S (N - B_L)))"
        return {0.0: "lr", 0.5: "lr * sqrt(r)", 1.0: "lr * r"}.get(self.exponent, f"lr * r^{self.exponent:g}")


SQRT = LrRule("sqrt", 0.5)
LINEAR = LrRule("linear", 1.0)
NO_RULE = LrRule("none", 0.0)
FINITE_POPULATION = LrRule("finite-population", None)
LR_RULES = {rule.name: rule for rule in (SQRT, LINEAR, NO_RULE, FINITE_POPULATION)}

_FOR_SGD: dict[float | None, tuple[str, str]] = {
    None: (
        f"covariance of a batch drawn without replacement, (S/M)(N-M)/(N-1); rule: {HOFFER}",
        "sampling without replacement, N well above B_L; diverges as B_L reaches N",
    ),
    0.0: ("the baseline's", "the large batch then takes smaller random steps, which the paper holds to cause the gap"),
    0.5: (
        HOFFER,
        "if noise is well above drift and B_L << N; tested at 4096 and 8192 with the regime adapted; "
        "at fixed epochs on ImageNet the linear rule was better (23.74 against 26.22% error at 8k, Goyal)",
    ),
    1.0: (GOYAL, "with a warm-up, if gradients stay similar over r updates; tested up to about 8k on ImageNet"),
}
_FOR_AVERAGES: dict[float | None, tuple[str, str]] = {
    0.0: ("the baseline's", "noise's total diffusion in the same epochs is then 1/r of the baseline's"),
    0.5: (
        MALLADI,
        "if the learning rate is small and gradient noise well above drift; derived for updates / r and scaled betas",
    ),
}
_UNTESTED = "untested: measure it"


def lr_rule_of(rule: LrRule, divides_by: str) -> Rule:
    """The learning rate's rule, with its source and validity for an optimizer that divides by `divides_by`.

    SGD divides the gradient by nothing, Adam and RMSprop by an average, Adagrad by a sum (`OptimizerFacts`).
    """
    known = {"nothing": _FOR_SGD, "average": _FOR_AVERAGES}.get(divides_by, {0.0: _FOR_AVERAGES[0.0]})
    if rule.exponent in known:
        source, validity = known[rule.exponent]
    elif rule.exponent in _FOR_SGD:
        source, validity = "SGD's rule, as requested", "derived for SGD, unpublished for this optimizer: measure it"
    else:
        source, validity = "an exponent given by the user", _UNTESTED
    return Rule(rule.name, rule.formula, source, validity)


LR_LEFT_OUT = Rule("not adapted", "lr", LEFT_OUT, _FOR_SGD[0.0][1])


def rule_of_exponent(exponent: float) -> LrRule:
    """The rule for an exponent, by its own name if it has one."""
    named = [rule for rule in LR_RULES.values() if rule.exponent == exponent]
    return named[0] if named else LrRule(f"exponent={exponent:.10g}", exponent)


def parse_lr_rule(text: str) -> LrRule:
    """The rule called `text`: sqrt, linear, none, finite-population or exponent=x. Raises `PlanError`."""
    if text in LR_RULES:
        return LR_RULES[text]
    key, _, number = text.partition("=")
    if key == "exponent":
        try:
            exponent = float(number)
        except ValueError:
            raise PlanError(f"learning-rate rule `{text}`: {number!r} is not a number; try exponent=0.5") from None
        if not -2 <= exponent <= 2:
            raise PlanError(f"learning-rate rule `{text}`: give an exponent between -2 and 2")
        return LrRule(text, exponent)
    near = nearest(text, [*LR_RULES, "exponent=0.5"])
    hint = f"; did you mean `{near}`?" if near else ""
    raise PlanError(f"unknown learning-rate rule `{text}`: choose from {', '.join(LR_RULES)} and exponent=x{hint}")


def batch_ratio(batch_size: int, target_batch_size: int) -> float:
    """The ratio B_L/B_S, unitless. Raises `PlanError` below 1."""
    if target_batch_size < batch_size:
        raise PlanError(
            f"the target batch size {target_batch_size} is below the baseline's {batch_size}: "
            "the rules go from a small batch to a larger one"
        )
    return target_batch_size / batch_size


def lr_factor(rule: LrRule, batch_size: int, target_batch_size: int, examples: int | None) -> float:
    """The factor for the learning rate, unitless.

    r^0.5 keeps the covariance eta^2/M of the weight increments (Hoffer et al. 2017, arXiv:1705.08741); r^1 is Goyal
    et al. 2017 (arXiv:1706.02677); the finite-population form keeps the covariance of batches drawn without replacement
    exactly, and needs N (`examples`). Raises `PlanError` if N is missing or not above the target batch size.
    """
    ratio = batch_ratio(batch_size, target_batch_size)
    if rule.exponent is not None:
        return float(ratio**rule.exponent)
    if examples is None:
        raise PlanError("the finite-population rule needs the number of training examples: give --examples")
    if target_batch_size >= examples:
        raise PlanError(
            f"the finite-population rule needs more than {target_batch_size} training examples, not {examples}: "
            "a full batch has no noise to match"
        )
    left_small, left_large = examples - batch_size, examples - target_batch_size
    return math.sqrt(target_batch_size * left_small / (batch_size * left_large))


def noise_variance(batch_size: int, examples: int | None, noise_ratio: float | None) -> float:
    """The variance of a batch's mean gradient, in units of one example's: [(N - M)/(N - 1) + ratio - 1] / M.

    The first term is that of a batch drawn without replacement, 1 if N (`examples`) is not known; the second is what
    multiplicative noise of `noise_ratio` adds (mean 1, variance ratio - 1), except for the mean gradient's own square,
    which the paper neglects (Hoffer et al. 2017, arXiv:1705.08741).
    """
    drawn = 1.0 if examples is None else (examples - batch_size) / (examples - 1) if examples > 1 else 0.0
    return (drawn + (noise_ratio or 1.0) - 1) / batch_size


CLIPPING_LENGTH = Rule(
    "clipping warm-up",
    "min(N / B_S, updates / 10)",
    f"the paper gives no length; one epoch of the baseline is {OWN_CHOICE}; at most a tenth of the run: {PLAYBOOK}",
    "if most updates are clipped to its end, lower the learning rate",
)


def clipping_warmup_updates(examples: int, batch_size: int, updates: int) -> int:
    """Length of the clipping warm-up in updates: one epoch of the baseline, and at most a tenth of the run."""
    return max(1, min(round(examples / batch_size), updates // 10))


GOYAL_WARMUP_EPOCHS = 5.0
"""Length of the gradual warm-up of Goyal et al. 2017 (arXiv:1706.02677), of 90 epochs in all."""


def lr_warmup_rule(epochs: float) -> Rule:
    """Goyal's gradual warm-up of `epochs`, as `lr_warmup_updates` computes it."""
    return Rule(
        "gradual warm-up",
        f"min({epochs:g} N / B_L, updates / 10)",
        f"{GOYAL}; at most a tenth of the run: {PLAYBOOK}",
        "5 of 90 epochs on ImageNet; starting with a constant lower rate was not enough",
    )


def lr_warmup_updates(epochs: float, examples: int, target_batch_size: int, updates: int) -> int:
    """Length of a warm-up of the learning rate in updates: `epochs` at the target, at most a tenth of the run.

    The Tuning Playbook's bound matters for runs much shorter than the 90 epochs of Goyal et al. 2017.
    """
    return max(1, min(round(epochs * examples / target_batch_size), updates // 10))


REFERENCE_CLIPPING_NORM = 5.0
"""The released code's threshold, a global L2 norm; it clips every update at every batch size."""


def clipping_norm_rule(momentum: float) -> Rule:
    """The threshold of the clipping warm-up, as `clipping_norm` computes it, under SGD with `momentum`."""
    return Rule(
        "clipping warm-up",
        "5 lr_S / lr_L",
        f"the paper gives no threshold; 5 at B_S is from {HOFFER_CODE}, which clips every update; keeping the step "
        f"from growing with the learning rate is {OWN_CHOICE}",
        "SGD: a step of at most lr * max_norm" + (f" / (1 - {momentum:g})" if momentum else ""),
    )


def clipping_norm(factor: float) -> float:
    """Threshold of the clipping warm-up, a global L2 norm, if the learning rate grows by `factor`: 5 / factor.

    The paper gives none. 5 is the released code's; dividing by the factor keeps lr * max_norm, so the first steps are
    no longer than the longest that this threshold allows the baseline. The division is this project's choice: on
    MNIST, the gradient norms of F1 start at 3, and 5 would clip nothing at a learning rate 5.7 times higher.
    """
    return REFERENCE_CLIPPING_NORM / factor
