"""The rules, one function each: a formula, where it is from, and where it is known to hold.

Notation: B_S baseline batch size, B_L target batch size, r = B_L/B_S (unitless), N training examples.
"""

import math
from dataclasses import dataclass

from lbadvisor.errors import PlanError, RefusedError

HOFFER = "Hoffer, Hubara, Soudry 2017, arXiv:1705.08741"
GOYAL = "Goyal et al. 2017, arXiv:1706.02677"
MALLADI = "Malladi et al. 2022, arXiv:2205.10287"
MAREK = "Marek et al. 2025, arXiv:2507.07101"
BUSBRIDGE = "Busbridge et al. 2023, arXiv:2307.13813"
WANG = "Wang, Aitchison 2024, arXiv:2405.13698"
HOFFER_CODE = "the paper's released code, github.com/eladhoffer/bigBatch"
PLAYBOOK = "Google Tuning Playbook, github.com/google-research/tuning_playbook"
SRIVASTAVA = "Srivastava et al. 2014, JMLR 15:1929"
WAN = "Wan et al. 2013, ICML, PMLR 28(3):1058"
XIE = "Xie et al. 2016, arXiv:1605.00055"
LI = "Li et al. 2018, arXiv:1801.05134"
OWN_CHOICE = "lbadvisor's own choice"


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

    @property
    def source(self) -> str:
        """Who published it."""
        if self.exponent is None:
            return f"covariance of a batch drawn without replacement, (S/M)(N-M)/(N-1); rule: {HOFFER}"
        known = {0.0: "no rule: as it was", 0.5: HOFFER, 1.0: GOYAL}
        return known.get(self.exponent, "an exponent given by the user")

    @property
    def validity(self) -> str:
        """Where it is known to hold."""
        known: dict[float | None, str] = {
            None: "sampling without replacement, N well above B_L; diverges as B_L reaches N",
            0.5: "noise well above drift, B_L << N; tested at 4096 and 8192 with the regime adapted; "
            "at fixed epochs on ImageNet the linear rule was better (23.74 against 26.22% error at 8k, Goyal)",
            1.0: "with a warm-up; gradients alike over r updates; tested to about 8k on ImageNet",
            0.0: "the large batch then makes smaller random steps: this is the gap's cause",
        }
        return known.get(self.exponent, "untested: measure it")


SQRT = LrRule("sqrt", 0.5)
LINEAR = LrRule("linear", 1.0)
NO_RULE = LrRule("none", 0.0)
FINITE_POPULATION = LrRule("finite-population", None)
LR_RULES = {rule.name: rule for rule in (SQRT, LINEAR, NO_RULE, FINITE_POPULATION)}


def parse_lr_rule(text: str) -> LrRule:
    """The rule called `text`: sqrt, linear, none, finite-population or exponent=x. Raises `PlanError`."""
    if text in LR_RULES:
        return LR_RULES[text]
    key, _, number = text.partition("=")
    if key == "exponent":
        try:
            exponent = float(number)
        except ValueError:
            raise PlanError(f"learning-rate rule `{text}`: {number!r} is no number; try exponent=0.5") from None
        if not -2 <= exponent <= 2:
            raise PlanError(f"learning-rate rule `{text}`: an exponent lies between -2 and 2")
        return LrRule(text, exponent)
    import difflib  # only an error needs it

    near = difflib.get_close_matches(text, [*LR_RULES, "exponent=0.5"], n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    raise PlanError(f"no learning-rate rule `{text}`: there are {', '.join(LR_RULES)} and exponent=x{hint}")


def batch_ratio(batch_size: int, target_batch_size: int) -> float:
    """The ratio B_L/B_S, unitless. Raises `PlanError` below 1."""
    if target_batch_size < batch_size:
        raise PlanError(
            f"the target batch size {target_batch_size} is below the baseline's {batch_size}: "
            "the rules lead from a small batch to a larger one"
        )
    return target_batch_size / batch_size


def lr_factor(rule: LrRule, batch_size: int, target_batch_size: int, examples: int | None) -> float:
    """What the learning rate is multiplied by, unitless.

    r^0.5 keeps the covariance eta^2/M of the weight increments (Hoffer et al. 2017, arXiv:1705.08741); r^1 is Goyal
    et al. 2017 (arXiv:1706.02677); the finite-population form keeps the covariance of batches drawn without replacement
    exactly, and needs N (`examples`). Raises `PlanError` where N is missing or not above the target batch size.
    """
    ratio = batch_ratio(batch_size, target_batch_size)
    if rule.exponent is not None:
        return float(ratio**rule.exponent)
    if examples is None:
        raise PlanError("the finite-population rule needs the number of training examples: give --examples")
    if target_batch_size >= examples:
        raise PlanError(
            f"the finite-population rule needs more than {target_batch_size} training examples, there are {examples}: "
            "a full batch has no noise to match"
        )
    left_small, left_large = examples - batch_size, examples - target_batch_size
    return math.sqrt(target_batch_size * left_small / (batch_size * left_large))


def clipping_warmup_updates(examples: int, batch_size: int, updates: int) -> int:
    """Length of the clipping warm-up in updates: one epoch of the baseline, and at most a tenth of the run.

    The paper clips at the start and names no length: one baseline epoch is this project's choice, the bound of a tenth
    is the Tuning Playbook's for warm-ups.
    """
    return max(1, min(round(examples / batch_size), updates // 10))


GOYAL_WARMUP_EPOCHS = 5.0
"""Length of the gradual warm-up of Goyal et al. 2017 (arXiv:1706.02677), of 90 epochs in all."""


def lr_warmup_updates(epochs: float, examples: int, target_batch_size: int, updates: int) -> int:
    """Length of a warm-up of the learning rate in updates: `epochs` at the target, at most a tenth of the run.

    The bound is the Tuning Playbook's: it is for runs much shorter than the 90 epochs of Goyal et al. 2017.
    """
    return max(1, min(round(epochs * examples / target_batch_size), updates // 10))


REFERENCE_CLIPPING_NORM = 5.0
"""The released code's threshold, a global L2 norm, with which it clips every update of every batch size."""


def clipping_norm(factor: float) -> float:
    """Threshold of the clipping warm-up, a global L2 norm, where the learning rate grows by `factor`: 5 / factor.

    The paper names none. 5 is the released code's; divided by the factor, it keeps lr * max_norm, so that a step is at
    first no longer than the longest that this threshold allows the baseline. That division is this project's choice:
    on MNIST the gradient norms of F1 begin at 3, and 5 would clip nothing at a learning rate 5.7 times higher.
    """
    return REFERENCE_CLIPPING_NORM / factor


def adapted_beta(name: str, beta: float, ratio: float, rule: str, batch_size: int) -> float:
    """A decay of Adam or RMSprop for a batch `ratio` times larger.

    Rule "sde": 1 - beta is multiplied by r (Malladi et al. 2022, arXiv:2205.10287); "half-life": beta^r, which keeps
    the half-life in examples (Marek et al. 2025, arXiv:2507.07101); "keep": beta. Raises `RefusedError` where
    r(1 - beta) >= 1.
    """
    if rule == "keep":
        return beta
    if rule == "half-life":
        return float(beta**ratio)
    if ratio * (1 - beta) >= 1 - 1e-9:
        limit = math.ceil(batch_size / (1 - beta) - 1e-9) - 1
        raise RefusedError(
            f"the square-root rule for adaptive optimizers breaks down here: {name} would be "
            f"1 - {ratio:g} * (1 - {beta:g}) = {1 - ratio * (1 - beta):.3g}, and must stay above 0 ({MALLADI}); "
            f"the largest target batch size that it allows is {limit}; or keep the half-life in examples with "
            f"--betas half-life ({MAREK}), or give --betas keep"
        )
    return 1 - ratio * (1 - beta)
