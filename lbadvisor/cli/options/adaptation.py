"""From the command line to the baseline recipe, the request to the advisor, and the recipe to train."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from lbadvisor.cli.options.command_line import MOST, Words
from lbadvisor.cli.options.effects import TrainedOn, refuse_without_effect
from lbadvisor.cli.options.words import Adapt, Changes, Rules
from lbadvisor.cli.output import write_out
from lbadvisor.errors import UsageError
from lbadvisor.planning.adjustments import Adjustment
from lbadvisor.planning.arms import arm_of
from lbadvisor.planning.baseline import Baseline, baseline_of
from lbadvisor.planning.distances import Distances, distances_of
from lbadvisor.planning.knowledge import Knowledge
from lbadvisor.planning.noise_scale import NoiseScale
from lbadvisor.planning.option_needs import Planned
from lbadvisor.planning.plan import Plan, advise
from lbadvisor.planning.request import Request
from lbadvisor.planning.rules import parse_lr_rule
from lbadvisor.recipe.parts import Part, parse_parts
from lbadvisor.runs.databases import opened

if TYPE_CHECKING:
    from lbadvisor.recipe.recipe import Recipe
    from lbadvisor.recipe.recipe_tables import AlsoMeasured


def baseline_recipe(path: Path, changes: Changes, words: Words) -> "Recipe":
    """The recipe in `path` with the command line's overrides and its schedule scaled.

    Raises `UsageError` for an option that has no effect on its training.
    """
    from lbadvisor.recipe.file import checked, load_recipe
    from lbadvisor.recipe.schedule import scaled

    overrides, scale = list(changes.overrides or ()), changes.schedule_scale
    if changes.precision is not None:
        overrides.append(f"compute.precision={changes.precision}")
    recipe = load_recipe(path, overrides)
    refuse_without_effect(words, TrainedOn.of(recipe))
    if not 0 < scale <= 1000:
        raise UsageError(f"--schedule-scale {scale:g}: give a number above 0 and at most 1000")
    return checked(scaled(recipe, scale), f"{path} with --schedule-scale {scale:g}")


def with_requests(changes: Changes, measure: str | None, *, recomputed: bool) -> Changes:
    """The changes, plus what else to measure and exact statistics at the end of training, if requested."""
    overrides = [*(changes.overrides or ())]
    if measure is not None:
        overrides.append(f"measurements.also={json.dumps(also_measured(measure))}")
    if recomputed:
        overrides.append("batch_norm.recompute_at_end=true")
    return replace(changes, overrides=overrides)


def also_measured(text: str) -> "tuple[AlsoMeasured, ...]":
    """What `--measure` names. Raises `UsageError`."""
    from lbadvisor.recipe.recipe_tables import AlsoMeasured

    known: tuple[AlsoMeasured, ...] = get_args(AlsoMeasured)
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"--measure: `{unknown[0]}` cannot be measured: choose from {', '.join(known)}")
    return tuple(name for name in known if name in names)


def target_of(target: int | None) -> int:
    """The target batch size. Raises `UsageError` if there is none."""
    if target is None:
        raise UsageError("give the target batch size: --to B")
    return target


def targets_of(text: str | None) -> tuple[int, ...]:
    """The target batch sizes in a list such as 256,1024, in ascending order. Raises `UsageError`."""
    if text is None:
        return (target_of(None),)
    words = [word.strip() for word in text.split(",")]
    for word in words:
        # Python itself refuses to read more than a few thousand digits.
        if not (word.isascii() and word.isdigit() and len(word) < 20 and 0 < int(word) <= MOST):
            raise UsageError(f"--to {text[:40]}: give batch sizes above 0 and below 2^63, such as 256 or 256,1024")
    targets = sorted(map(int, words))
    twice = [small for small, large in pairwise(targets) if small == large]
    if twice:
        raise UsageError(f"--to {text[:40]}: the target batch size {twice[0]} is given twice")
    return tuple(targets)


def request_by(rules: Rules, target: int, parts: tuple[Part, ...]) -> Request:
    """The request to adapt `parts` with these rules."""
    return Request(target, parts, ghost_batch_size=rules.ghost, betas=rules.betas, weight_decay=rules.weight_decay)


def request_of(adapt: Adapt, words: Words, baseline: Baseline) -> Request:
    """The request that the options make, or the named arm's, for which the distances are still to be read.

    Raises `UsageError` for an option without effect on `baseline`.
    """
    asked = request_by(adapt.rules, target_of(adapt.target), parse_parts("all" if adapt.parts is None else adapt.parts))
    requests: tuple[Request, ...] = (
        replace(asked, lr_rule=parse_lr_rule(adapt.lr_rule), stretch_share=adapt.stretch_share),
    )
    if adapt.arm is not None:
        arm = arm_of(adapt.arm)
        if arm.follows is not None and adapt.distances_from is None:
            raise UsageError(f"the arm {arm.name} needs the distances of a run of the baseline: --distances-from RUN")
        requests = () if arm.request is None else (arm.request(replace(asked, parts=())),)
    refuse_without_effect(words, Planned(baseline, requests))
    return requests[0]


def distances_in(database: str | None, adapt: Adapt, baseline: "Recipe") -> Distances | None:
    """The distances of the run in the database that --distances-from names, if it is given.

    Raises `UnknownRunError` and what `distances_of` raises.
    """
    if adapt.distances_from is None:
        return None
    with opened(database) as store:
        run = store.run(adapt.distances_from)
        return distances_of(run, store.measurements(run.number), baseline)


def trained_recipe(
    path: Path,
    changes: Changes,
    adapt: Adapt,
    words: Words,
    database: str | None,
    noise_scale: NoiseScale | None = None,
) -> "tuple[Plan | None, Recipe]":
    """The recipe to train: that in `path`, adapted if there is a target; and the plan that adapted it."""
    baseline = baseline_recipe(path, changes, words)
    if adapt.target is None:
        return None, baseline
    request = request_of(adapt, words, baseline_of(baseline))
    distances = distances_in(database, adapt, baseline)
    plan = advise(baseline, replace(request, known=Knowledge(noise_scale), distances=distances))
    return plan, plan.adapted


def write_recipe(path: Path, plan: Plan) -> None:
    """Write the plan's adapted recipe; a comment after each changed line gives the reason."""
    from lbadvisor.recipe.file import dump_recipe

    comments = {
        _commented_field(line): f"{line.rule}: {line.formula}"
        for line in plan.adjustments
        if line.kind == "recipe" and line.before != line.after
    }
    write_out(path, dump_recipe(plan.adapted, comments))


def _commented_field(line: Adjustment) -> str:
    """The field that the line's comment follows: of a key of all milestones, the first that has it."""
    table, key, *inner = line.field.split(".")
    if not inner or not isinstance(line.after, tuple):
        return line.field
    first = next((place for place, value in enumerate(line.after) if value is not None), 0)
    return f"{table}.{key}[{first}].{inner[0]}"
