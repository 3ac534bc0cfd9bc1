"""The advisor: from a baseline and a target batch size to a plan."""

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lbadvisor.errors import PlanError, RefusedError
from lbadvisor.planning import additions, adjustments, rules
from lbadvisor.planning.adjustments import Adjustment, Value
from lbadvisor.planning.baseline import Baseline, baseline_of
from lbadvisor.planning.caveat import Caveat
from lbadvisor.planning.caveats import caveats
from lbadvisor.planning.forecast import Option, forecast
from lbadvisor.planning.numbers_plan import NumbersPlan
from lbadvisor.planning.request import Request, options_of
from lbadvisor.planning.scaling import Scaling, scaling_of
from lbadvisor.version import __version__

if TYPE_CHECKING:
    from lbadvisor.recipe.recipe import Recipe


@dataclass(frozen=True, slots=True, repr=False)
class Plan(NumbersPlan):
    """The plan of a recipe: the baseline, and the same training at the target batch size."""

    baseline: "Recipe"
    adapted: "Recipe"


def advise(recipe: "Recipe", request: Request) -> Plan:
    """The plan that adapts `recipe` to the request's batch size; its adapted recipe is in updates only.

    Raises `RefusedError` for a recipe that is already adapted, and `PlanError` if a rule cannot be applied.
    """
    if recipe.adapted_from is not None:
        origin = recipe.adapted_from
        raise RefusedError(
            f"the recipe `{recipe.name}` was already adapted, from `{origin.recipe}` at batch size "
            f"{origin.batch_size}: adapt that one to {request.target_batch_size} instead"
        )
    scaling, plan = _planned(baseline_of(recipe), request)
    return Plan(
        plan.batch_ratio,
        plan.optimizer,
        plan.examples,
        plan.adjustments,
        plan.warnings,
        plan.forecast,
        baseline=recipe,
        adapted=_adapted(recipe, scaling, plan.adjustments),
    )


def advise_numbers(baseline: Baseline, request: Request) -> NumbersPlan:
    """The plan for a baseline given by numbers alone. Raises `PlanError`."""
    return _planned(baseline, request)[1]


def _planned(baseline: Baseline, request: Request) -> tuple[Scaling, NumbersPlan]:
    try:
        scaling = _checked(baseline, request)
        plan = NumbersPlan(
            batch_ratio=scaling.batch_ratio,
            optimizer=baseline.optimizer,
            examples=baseline.examples,
            adjustments=all_lines(scaling),
            warnings=caveats(scaling),
            forecast=forecast(scaling),
        )
    except ArithmeticError as error:
        raise PlanError(f"the baseline's numbers are too large or too small for a plan: {error}") from error
    return scaling, _refuse_overflow(plan)


def _checked(baseline: Baseline, request: Request) -> Scaling:
    """The scaling, if the request makes sense for the baseline. Raises `PlanError` otherwise."""
    scaling = scaling_of(baseline, request)
    additions.check_additions(scaling)
    if scaling.ghost_batch_size == 1:
        raise PlanError(
            "ghost batches of the baseline's size would have 1 example and no variance: give --ghost G with 2 or "
            "more, or do without them: --adapt lr,regime,clip"
        )
    if (request.known.devices or 1) > request.target_batch_size:
        raise PlanError(
            f"{request.known.devices:,} devices cannot share a batch of {request.target_batch_size:,} examples: give "
            "at most as many devices as examples"
        )
    return scaling


def _refuse_overflow(plan: NumbersPlan) -> NumbersPlan:
    """The plan, if all of its numbers are finite. Raises `PlanError` otherwise."""
    numbers = [(line.field, value) for line in plan.adjustments for value in (line.before, line.after)]
    numbers += [
        (f"{name} of `{option.name}`", value) for option in plan.forecast for name, value in asdict(option).items()
    ]
    for name, value in numbers:
        if isinstance(value, float) and not math.isfinite(value):
            raise PlanError(f"{name} would be {value:g}: the baseline's numbers are too large or too small for a plan")
    return plan


def all_lines(scaling: Scaling) -> tuple[Adjustment, ...]:
    """Every line of the plan, in reading order."""
    parts = (
        adjustments.batch_lines, adjustments.lr_lines, adjustments.regime_lines, additions.distance_lines,
        additions.warmup_lines, adjustments.ghost_lines, adjustments.running_statistics_lines, additions.noise_lines,
        adjustments.clipping_lines, additions.regularization_lines, adjustments.weight_decay_lines,
        adjustments.momentum_lines, adjustments.weight_ema_lines, adjustments.cadence_lines,
    )  # fmt: skip
    return tuple(line for part in parts for line in part(scaling))


def _adapted(recipe: "Recipe", scaling: Scaling, lines: tuple[Adjustment, ...]) -> "Recipe":
    """`recipe` in updates, with the `after` of each recipe line and no other change."""
    request = scaling.request
    # A plan from numbers alone needs no recipe: building those models would take half of its time.
    from pydantic import ValidationError

    from lbadvisor.recipe.problems import dotted, findings_of
    from lbadvisor.recipe.recipe import Recipe, recipe_hash
    from lbadvisor.recipe.recipe_tables import AdaptedFrom
    from lbadvisor.recipe.schedule import in_updates

    body = in_updates(recipe).model_dump(mode="json")
    for line in lines:
        if line.kind == "recipe":
            _put(body, line.field, line.after)
    body["adapted_from"] = AdaptedFrom(
        recipe=recipe.name,
        recipe_hash=recipe_hash(recipe),
        batch_size=recipe.batch.size,
        parts=request.parts,
        lr_rule=request.lr_rule.name if "lr" in request.parts else rules.NO_RULE.name,
        stretch_share=request.stretch_share,
        additions=additions.additions_of(scaling),
        options=options_of(request),
        distances_from=None if request.distances is None else request.distances.run,
        program=f"lbadvisor {__version__}",
    ).model_dump(mode="json")
    try:
        return Recipe.model_validate_json(json.dumps(body))
    except ValidationError as error:
        faults = "; ".join(f"{dotted(finding.path)} {finding.message}" for finding in findings_of(error))
        longer = "lengthen the schedule" + (
            "" if "regime" in request.parts else ", or adapt `regime` to keep its updates"
        )
        raise PlanError(
            f"at batch size {request.target_batch_size} the adapted recipe is wrong: {faults}"
            + (f"; {longer}" if "schedule." in faults else "")
        ) from error


def _put(body: dict[str, Any], field: str, value: Value) -> None:
    table, key, *rest = field.split(".")
    if key == "milestones" and isinstance(value, tuple):
        for milestone, its_value in zip(body[table][key], value, strict=True):
            milestone[rest[0] if rest else "update"] = its_value
    elif body[table] is None:
        body[table] = {key: value}
    else:
        body[table][key] = value


def plan_body(plan: NumbersPlan) -> dict[str, Any]:
    """The plan as the documented JSON object, `"schema": 1`."""
    recipes = (plan.baseline, plan.adapted) if isinstance(plan, Plan) else (None, None)
    baseline, adapted = (None if recipe is None else recipe.model_dump(mode="json") for recipe in recipes)
    return {
        "schema": 1,
        "baseline": baseline,
        "adapted": adapted,
        "batch_ratio": plan.batch_ratio,
        "adjustments": [asdict(line) for line in plan.adjustments],
        "warnings": [asdict(caveat) for caveat in plan.warnings],
        "forecast": [asdict(option) for option in plan.forecast],
    }


def plan_json(plan: Plan) -> str:
    """The plan as canonical JSON text, for the store: equal plans give equal texts."""
    return json.dumps(plan_body(plan), sort_keys=True, separators=(",", ":"), allow_nan=False)


def plan_of_json(text: str) -> Plan:
    """The plan whose `plan_json` is this text. Raises `PlanError` for any other text."""
    from lbadvisor.recipe.recipe import Recipe

    try:
        body = json.loads(text)
        if body["schema"] != 1:
            raise PlanError(f"the plan has schema {body['schema']}, but this program reads 1: use a newer lbadvisor")
        baseline = Recipe.model_validate_json(json.dumps(body["baseline"]))
        return Plan(
            baseline=baseline,
            optimizer=baseline.optimizer.name,
            examples=baseline.data.train_examples,
            adapted=Recipe.model_validate_json(json.dumps(body["adapted"])),
            batch_ratio=body["batch_ratio"],
            adjustments=tuple(Adjustment(**_in_tuples(line)) for line in body["adjustments"]),
            warnings=tuple(Caveat(**caveat) for caveat in body["warnings"]),
            forecast=tuple(Option(**option) for option in body["forecast"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise PlanError(f"the plan was written by another version of the program, or by hand: {error}") from error


def _in_tuples(line: dict[str, Any]) -> dict[str, Any]:
    """A line's fields; JSON's lists become tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in line.items()}
