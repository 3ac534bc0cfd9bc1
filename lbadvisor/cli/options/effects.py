"""When each option has an effect: one that is given and has none is refused, with the reason and what to do.

`EFFECTS` names every option of the program. Some needs are seen in the words alone; others in what they plan, and are
looked at once there is a plan. An option counts as given if it stands on the command line, whatever its value.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lbadvisor.cli.options.command_line import Words
from lbadvisor.errors import UsageError

if TYPE_CHECKING:
    from lbadvisor.plan.baseline import Baseline
    from lbadvisor.plan.request import Request
    from lbadvisor.recipe.parts import Part


@dataclass(frozen=True, slots=True)
class Planned:
    """What the words plan: a baseline, and the requests made of it, one for each arm; none for the baseline itself."""

    baseline: "Baseline"
    requests: "tuple[Request, ...]"


@dataclass(frozen=True, slots=True)
class Need:
    """What an option needs of the other words; `otherwise` continues the message after its name."""

    met: Callable[[Words], bool]
    otherwise: str


@dataclass(frozen=True, slots=True)
class PlanNeed:
    """What an option needs of the plan; `otherwise` continues the message after its name."""

    met: Callable[[Planned], bool]
    otherwise: str


def refuse_without_effect(words: Words, planned: Planned | None = None) -> None:
    """Raise `UsageError` for the first given option without effect, judged by the words or, with it, by the plan."""
    if words.subcommand is not None and words.given:
        raise UsageError(f"options of `{words.command} {words.subcommand}` are given after its name")
    for name, written in words.given:
        for need in EFFECTS.get(f"{words.command} {name}", EFFECTS.get(name, ())):
            if isinstance(need, Need):
                met = planned is not None or need.met(words)
            else:
                met = planned is None or need.met(planned)
            if not met:
                raise UsageError(f"{written} {need.otherwise}")


FORMS = ("--json", "--md", "--csv")


def _is_table(words: Words) -> bool:
    return not any(words.values.get(form) for form in FORMS)


def _draws(words: Words) -> bool:
    return bool(_is_table(words) and words.values.get("--curve"))


def _adapts(part: "Part") -> PlanNeed:
    return PlanNeed(
        lambda planned: any(part in request.parts for request in planned.requests),
        f"has no effect without `{part}` among the parts to adapt: name it in --adapt, or choose an arm that adapts it",
    )


def _horizon_moves(planned: Planned) -> bool:
    from lbadvisor.plan.scaling import scaling_of

    asked = (replace(request, weight_decay="horizon") for request in planned.requests)
    return any(abs(scaling_of(planned.baseline, request).decay_factor - 1) > 1e-9 for request in asked)


def _has_horizon(planned: Planned) -> bool:
    from lbadvisor.plan.weight_decay import has_horizon

    return has_horizon(planned.baseline)


TARGET = Need(lambda words: words.values["--to"] is not None, "needs the target batch size: --to B")
RECIPE = Need(lambda words: words.values["recipe"] is not None, "needs a recipe")
NO_RECIPE = Need(
    lambda words: words.values["recipe"] is None,
    "belongs to a plan without a recipe: change the recipe with --set instead",
)
FROM = Need(lambda words: words.values["--from"] is not None, "needs the baseline batch size: --from B")
NO_ARM = Need(
    lambda words: words.values.get("--arm") is None, "and --arm exclude one another: the arm says what is adapted"
)
OUT = Need(lambda words: words.values["--out"] is not None, "has no effect without --out FILE")
ONE_FORM = Need(
    lambda words: sum(bool(words.values.get(form)) for form in FORMS) < 2,
    "is not the only form asked for: --json, --md and --csv exclude one another",
)
DONE = Need(
    lambda words: not words.values["--dry-run"], "has no effect: --dry-run trains nothing, so there are no results"
)
ASKED = Need(lambda words: not words.values["--dry-run"], "has no effect: --dry-run deletes nothing, and asks nothing")
TABLE = Need(_is_table, "has no effect with --json, --md or --csv: a chart stands below tables only")
AXIS = Need(
    lambda words: _draws(words) or " at " in (words.values["--columns"] or ""),
    "has no effect: no curve is drawn, and no metric of --columns is `at` a position",
)
SEEDED = Need(
    lambda words: any(":" not in arm for arm in words.values["--arms"].split(",")),
    "has no effect: every arm of --arms has its own number of seeds",
)
LARGER = PlanNeed(
    lambda planned: any(r.target_batch_size != planned.baseline.batch_size for r in planned.requests),
    "has no effect: the target batch size is the baseline's own",
)
BATCH_NORM = PlanNeed(
    lambda planned: planned.baseline.has_batch_norm, "has no effect: the network has no batch norm, so no ghost batches"
)
BETAS = PlanNeed(
    lambda planned: planned.baseline.beta1 is not None or planned.baseline.beta2 is not None,
    "has no effect: the optimizer has no betas, as adam, adamw and rmsprop have",
)
DECAY = PlanNeed(_has_horizon, "has no effect: the baseline has no weight decay above 0 with a horizon to keep")
HORIZON = PlanNeed(_horizon_moves, "has no effect: learning rate and length leave the weight decay's horizon as it is")

ALWAYS: tuple[Need | PlanNeed, ...] = ()

EFFECTS: dict[str, tuple[Need | PlanNeed, ...]] = {
    # What to do, and how to say it.
    "--json": (ONE_FORM,),
    "--md": (ONE_FORM,),
    "--csv": (ONE_FORM,),
    "--quiet": ALWAYS,
    "--dry-run": ALWAYS,
    "--html": ALWAYS,
    "--png": ALWAYS,
    "--out": ALWAYS,
    "--force": (OUT,),
    "--name": ALWAYS,
    # Where everything is, and what computes: such options name a place or a device whether it is looked at or not.
    "--db": ALWAYS,
    "--data-dir": ALWAYS,
    "--device": ALWAYS,
    "--micro": ALWAYS,
    # The recipe.
    "--set": (RECIPE,),
    "--schedule-scale": (RECIPE,),
    "--precision": (RECIPE,),
    "--recompute-statistics": ALWAYS,
    "--seed": ALWAYS,
    "--seeds": ALWAYS,
    # The adaptation.
    "--to": ALWAYS,
    "--arm": (TARGET,),
    "--adapt": (TARGET, NO_ARM),
    "--lr-rule": (TARGET, NO_ARM, _adapts("lr"), LARGER),
    "--ghost": (TARGET, BATCH_NORM, _adapts("ghost")),
    "--betas": (TARGET, BETAS, _adapts("lr"), LARGER),
    "--weight-decay": (TARGET, DECAY, HORIZON),
    "--stretch-share": (TARGET, NO_ARM, _adapts("regime"), LARGER),
    # Of one command each.
    "plan --from": (NO_RECIPE,),
    "plan --lr": (NO_RECIPE, FROM),
    "plan --epochs": (NO_RECIPE, FROM),
    "plan --examples": (NO_RECIPE, FROM),
    "plan --optimizer": (NO_RECIPE, FROM),
    "plan --momentum": (NO_RECIPE, FROM),
    "plan --beta1": (NO_RECIPE, FROM),
    "plan --beta2": (NO_RECIPE, FROM),
    "plan --epsilon": (NO_RECIPE, FROM),
    "plan --weight-decay-value": (NO_RECIPE, FROM),
    "plan --out": (RECIPE,),
    "verify-resume --updates": ALWAYS,
    "verify-resume --at": ALWAYS,
    "ladder --arms": ALWAYS,
    "ladder --seeds": (SEEDED,),
    "ladder --html": (DONE,),
    "ladder --png": (DONE,),
    "ladder --md": (ONE_FORM, DONE),
    "ladder --csv": (ONE_FORM, DONE),
    "compare --where": ALWAYS,
    "compare --columns": ALWAYS,
    "compare --by": (AXIS,),
    "compare --curve": (TABLE,),
    "calibrate --updates": ALWAYS,
    "calibrate --exponents": ALWAYS,
    "calibrate --json": (DONE,),
    "refine --trials": ALWAYS,
    "refine --epochs-budget": ALWAYS,
    "refine --also": ALWAYS,
    "refine --range": ALWAYS,
    "refine --metric": ALWAYS,
    "refine --prune": ALWAYS,
    "refine --calibrate": (DONE,),
    "refine --out": (DONE,),
    "refine --json": (DONE,),
    "refine --chart": (TABLE, DONE),
    "runs --status": ALWAYS,
    "runs --recipe": ALWAYS,
    "runs --ladder": ALWAYS,
    "runs --where": ALWAYS,
    "runs --limit": ALWAYS,
    "runs show --measurements": ALWAYS,
    "runs delete --yes": (ASKED,),
    "ladders delete --with-runs": ALWAYS,
    "ladders delete --yes": (ASKED,),
    "runs prune --yes": (ASKED,),
    "runs export-weights --pt": ALWAYS,
    "runs export-weights --weights": ALWAYS,
    "runs export --where": ALWAYS,
    "db query --sql": ALWAYS,
}
