"""From the command line's words to a baseline recipe and a request; `plan` and `train` share it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lbadvisor.advisor.arms import arm_of
from lbadvisor.advisor.parts import parse_parts
from lbadvisor.advisor.plan import Plan, advise
from lbadvisor.advisor.request import BetasRule, Request, WeightDecayRule
from lbadvisor.advisor.rules import SQRT, parse_lr_rule
from lbadvisor.errors import LbadvisorError, UsageError

if TYPE_CHECKING:
    from lbadvisor.advisor.recipe import Recipe


def baseline_recipe(path: Path, overrides: Sequence[str] | None, schedule_scale: float) -> "Recipe":
    """The recipe of `path` with the command line's replacements, its schedule scaled."""
    from lbadvisor.advisor.recipe_file import checked, load_recipe
    from lbadvisor.advisor.schedule import scaled

    recipe = load_recipe(path, overrides or ())
    if not 0 < schedule_scale <= 1000:
        raise UsageError(f"--schedule-scale {schedule_scale:g} does not lie above 0 and at most at 1000")
    return checked(scaled(recipe, schedule_scale), f"{path} with --schedule-scale {schedule_scale:g}")


def request_of(
    target: int,
    adapt: str | None,
    lr_rule: str,
    ghost: int | None,
    betas: BetasRule,
    weight_decay: WeightDecayRule,
    stretch_share: float = 1.0,
) -> Request:
    """The request that the options make. `adapt` is all if not given."""
    parts, rule = parse_parts("all" if adapt is None else adapt), parse_lr_rule(lr_rule)
    given = {"--lr-rule": ("lr", rule != SQRT), "--ghost": ("ghost", ghost is not None)}
    given["--stretch-share"] = ("regime", stretch_share != 1)
    for option, (part, is_given) in given.items():
        if is_given and part not in parts:
            raise UsageError(f"{option} has no effect without `{part}` among the parts to adapt (--adapt)")
    return Request(target, parts, rule, ghost, betas, weight_decay, stretch_share)


def arm_or_request_of(
    target: int,
    adapt: str | None,
    lr_rule: str,
    ghost: int | None,
    betas: BetasRule,
    weight_decay: WeightDecayRule,
    *,
    arm: str | None,
    stretch_share: float,
) -> Request | None:
    """The request of the arm where one is named, None for the baseline itself; else that of the other options."""
    if arm is None:
        return request_of(target, adapt, lr_rule, ghost, betas, weight_decay, stretch_share)
    rule = parse_lr_rule(lr_rule)
    given = {"--adapt": adapt is not None, "--lr-rule": rule != SQRT, "--stretch-share": stretch_share != 1}
    for option in (option for option, is_given in given.items() if is_given):
        raise UsageError(f"{option} and --arm {arm} exclude one another: the arm says what is adapted")
    make = arm_of(arm).request
    return None if make is None else make(Request(target, (), rule, ghost, betas, weight_decay))


def trained_recipe(
    path: Path,
    overrides: Sequence[str],
    schedule_scale: float,
    target: int | None,
    adapt: str | None,
    lr_rule: str,
    ghost: int | None,
    betas: BetasRule,
    weight_decay: WeightDecayRule,
    *,
    arm: str | None = None,
    stretch_share: float = 1.0,
) -> "tuple[Plan | None, Recipe]":
    """What a command trains: the recipe of `path`, with a target adapted to it, and then the plan that did so."""
    baseline = baseline_recipe(path, overrides, schedule_scale)
    if target is None:
        given = {
            "--adapt": adapt is not None,
            "--arm": arm is not None,
            "--stretch-share": stretch_share != 1,
            "--lr-rule": lr_rule != SQRT.name,
            "--ghost": ghost is not None,
            "--betas": betas != "auto",
            "--weight-decay": weight_decay != "auto",
        }
        for option in (option for option, is_given in given.items() if is_given):
            raise UsageError(f"{option} needs the target batch size: --to B")
        return None, baseline
    request = arm_or_request_of(
        target, adapt, lr_rule, ghost, betas, weight_decay, arm=arm, stretch_share=stretch_share
    )
    if request is None:
        return None, baseline
    plan = advise(baseline, request)
    return plan, plan.adapted or baseline


def write_recipe(path: Path, plan: Plan, *, force: bool) -> None:
    """Write the plan's adapted recipe, each changed line with its reason behind it."""
    from lbadvisor.advisor.recipe_file import dump_recipe

    if plan.adapted is None:
        raise UsageError("a plan without a recipe has no adapted recipe to write")
    if path.exists() and not force:
        raise UsageError(f"{path} is there already: give another --out, or --force")
    comments = {
        line.field: f"{line.rule}: {line.formula}"
        for line in plan.adjustments
        if line.kind == "recipe" and line.before != line.after
    }
    try:
        path.write_text(dump_recipe(plan.adapted, comments), encoding="utf-8")
    except OSError as error:
        raise LbadvisorError(f"{path} cannot be written: {error.strerror}") from error
