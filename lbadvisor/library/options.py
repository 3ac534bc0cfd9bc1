"""The keywords of `plan`, `train` and `ladder`: the words of the command line, as a baseline and a request."""

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, TypedDict, get_args

from lbadvisor.errors import PlanError
from lbadvisor.planning.arms import arm_of
from lbadvisor.planning.baseline import Baseline, baseline_of_numbers
from lbadvisor.planning.knowledge import Knowledge
from lbadvisor.planning.noise_scale import NoiseScale
from lbadvisor.planning.request import BetasRule, Request, WeightDecayRule
from lbadvisor.planning.rules import parse_lr_rule
from lbadvisor.recipe.limits import MOST_COUNT
from lbadvisor.recipe.parts import Part, parse_parts
from lbadvisor.recipe.suggestion import did_you_mean


class BaselineNumbers(TypedDict, total=False):
    """What is known of a baseline without a recipe; the optimizer's settings default to torch's.

    `examples` is the number of training examples. The length is `updates`, or `epochs`. `weight_decay_value` is the
    weight decay itself: `weight_decay` names its rule.
    """

    lr: float
    optimizer: str
    updates: int
    epochs: float
    examples: int
    momentum: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay_value: float


class LadderRules(TypedDict, total=False):
    """The `PlanOptions` that hold for every arm of a ladder."""

    ghost_batch_size: int
    betas: BetasRule
    weight_decay: WeightDecayRule
    noise_scale: float | NoiseScale


class PlanOptions(LadderRules, total=False):
    """How to adapt a baseline, in the words of `lbadvisor plan`.

    `adapt`: the parts, "all" (the default), "none", or some of lr, ghost, regime and clip; or `arm`, an arm of a
    ladder. `lr_rule`: sqrt, linear, none, finite-population or exponent=x. `ghost_batch_size`: the baseline's batch
    size by default. `betas`: auto, sde, half-life or keep. `weight_decay`: auto, keep or horizon. `stretch_share`: the
    share of the baseline's updates, from 1/r to 1. `warmup_epochs`: at most so long a warm-up of the learning rate.
    `noise_scale`, in examples, and `devices` change nothing: costs and warnings can tell more with them.
    """

    adapt: str | Sequence[Part]
    arm: str
    lr_rule: str
    stretch_share: float
    warmup_epochs: float
    devices: int


def baseline_by(batch_size: int, numbers: BaselineNumbers) -> Baseline:
    """The baseline with these numbers. Raises `PlanError`."""
    given: dict[str, Any] = {name.removesuffix("_value"): value for name, value in numbers.items()}
    given["batch_size"] = batch_size
    given |= {name: count_of(name, given[name]) for name in ("batch_size", "updates", "examples") if name in given}
    updates = given.pop("updates", None)
    if updates is not None and "epochs" in given:
        raise PlanError("give the length as updates= or as epochs=, not as both")
    if updates is not None and "examples" in given:
        given["epochs"] = updates * given["batch_size"] / given["examples"]
    baseline = baseline_of_numbers(**given)
    return baseline if updates is None else replace(baseline, updates=float(updates))


_RULES = (
    ("betas", get_args(BetasRule), "the numbers are beta1= and beta2="),
    ("weight_decay", get_args(WeightDecayRule), "the number is weight_decay_value="),
)


def request_by(to: int, options: PlanOptions) -> Request:
    """The request that the options make. Raises `PlanError`."""
    for name, rules, numbers in _RULES:
        if (rule := options.get(name, "auto")) not in rules:
            raise PlanError(f"{name}={rule!r} names a rule, one of {', '.join(rules)}; {numbers}")
    noise_scale = options.get("noise_scale")
    scale = NoiseScale(noise_scale) if isinstance(noise_scale, int | float) else noise_scale
    if scale is not None and not scale.examples >= 0:
        raise PlanError(f"noise_scale={noise_scale!r}: give a number of examples, which is not negative")
    asked = Request(
        count_of("to", to),
        (),
        ghost_batch_size=options.get("ghost_batch_size"),
        betas=options.get("betas", "auto"),
        weight_decay=options.get("weight_decay", "auto"),
        warmup_epochs=options.get("warmup_epochs"),
        known=Knowledge(scale, devices=options.get("devices")),
    )
    if "arm" in options:
        return _of_arm(asked, options)
    parts = options.get("adapt", "all")
    return replace(
        asked,
        parts=parse_parts(parts if isinstance(parts, str) else ",".join(parts) or "none"),
        lr_rule=parse_lr_rule(options.get("lr_rule", "sqrt")),
        stretch_share=options.get("stretch_share", 1.0),
    )


def _of_arm(asked: Request, options: PlanOptions) -> Request:
    arm = arm_of(options["arm"])
    both = [name for name in ("adapt", "lr_rule", "stretch_share") if name in options]
    if both:
        raise PlanError(f"{both[0]}= cannot be combined with arm=, which says what is adapted")
    if arm.request is None:
        raise PlanError(f"the arm {arm.name} is the baseline itself, which needs no plan")
    if arm.follows is not None:
        raise PlanError(
            f"the arm {arm.name} takes its distances from a run of the baseline: train it in a ladder, or with "
            "`lbadvisor train --arm distance --distances-from RUN`"
        )
    return arm.request(asked)


def count_of(name: str, value: object) -> int:
    """`value`, if it is a whole number above 0 that floats can count to. Raises `PlanError` otherwise."""
    count = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else 0
    if not 0 < count <= MOST_COUNT:
        raise PlanError(f"{name}={value!r}: give a whole number above 0 and at most 2**53")
    return count


def _checked(name: str, value: Any) -> Any:
    """A keyword's value: a number, also that of another library, as Python's own. Raises `PlanError`."""
    if name in _COUNTS:
        return count_of(name, value)
    if name not in _REALS or isinstance(value, NoiseScale):
        return value
    if not isinstance(value, Real) or isinstance(value, bool):
        raise PlanError(f"{name}={value!r}: give a number")
    return float(value)


def split_keywords(function: str, given: dict[str, Any]) -> tuple[BaselineNumbers, PlanOptions]:
    """The keywords of a call of `function`, by what they are about. Raises `TypeError` for an unknown one."""
    unknown = [name for name in given if name not in _NUMBERS | _OPTIONS]
    if unknown:
        raise TypeError(
            f"{function}() has no keyword `{unknown[0]}`: {did_you_mean(unknown[0], sorted(_NUMBERS | _OPTIONS))}"
        )
    # None says nothing, as an option that is not given.
    told = {name: _checked(name, value) for name, value in given.items() if value is not None}
    numbers = BaselineNumbers(**{name: told[name] for name in told if name in _NUMBERS})  # type: ignore[typeddict-item]
    options = PlanOptions(**{name: told[name] for name in told if name in _OPTIONS})  # type: ignore[typeddict-item]
    return numbers, options


_COUNTS = ("updates", "examples", "ghost_batch_size", "devices")
_REALS = (
    "lr", "epochs", "momentum", "beta1", "beta2", "epsilon", "weight_decay_value", "stretch_share", "warmup_epochs",
    "noise_scale",
)  # fmt: skip
_NUMBERS, _OPTIONS = frozenset(BaselineNumbers.__annotations__), frozenset(PlanOptions.__annotations__)
