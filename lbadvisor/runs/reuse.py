"""Finds the stored run or ladder to reuse: what it trains decides; its name is only a label."""

from collections.abc import Sequence
from dataclasses import dataclass

from lbadvisor.errors import RefusedError
from lbadvisor.planning.planned_arms import PlannedArm
from lbadvisor.recipe.identity import differences, digest_of, identity_of
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.records.run import Ladder, Run, RunStatus
from lbadvisor.store import Store

RESULTS = (RunStatus.COMPLETE, RunStatus.DIVERGED)
"""The status of a run that is not trained again: that it diverged is its result."""


@dataclass(frozen=True, slots=True)
class StoredName:
    """The name under which a training or a ladder is stored, or will be; `others` are further ones of the same."""

    name: str
    others: tuple[str, ...] = ()


def name_of_training(store: Store, recipe: Recipe, seed: int, default: str) -> StoredName:
    """The name of the stored run that trains `recipe` with `seed`: `preferred` decides; `default` if there is none.

    Creates nothing.
    """
    found = store.runs_of(identity_of(recipe, seed))
    run = preferred(found, default)
    if run is None:
        return StoredName(default)
    return StoredName(run.name, tuple(other.name for other in found if other is not run))


def preferred(runs: Sequence[Run], name: str | None = None) -> Run | None:
    """The one of several runs of one training to reuse or resume; None if there is none.

    The run called `name`; else a complete one before a diverged one before any other, then the newest.
    """
    return max(
        runs,
        key=lambda run: (run.name == name, run.status is RunStatus.COMPLETE, run.status in RESULTS, run.number),
        default=None,
    )


def refuse_another(run: Run, recipe: Recipe, seed: int) -> None:
    """Raises `RefusedError` unless `run` trains `recipe` with `seed`, naming the fields that differ."""
    differing = differences(run.recipe, recipe)
    if run.seed != seed:
        differing.append(f"seed: {run.seed} there, {seed} here")
    refuse_differing(
        f"the run `{run.name}` belongs to another training",
        differing,
        "repeat its original options to resume it, or give --name for a new run",
    )


def refuse_differing(what: str, differing: Sequence[str], remedy: str) -> None:
    """Raises `RefusedError` if anything differs."""
    if differing:
        raise RefusedError("\n  ".join([f"{what}:", *differing]) + f"\n{remedy}")


def name_of_ladder(
    store: Store, baseline: Recipe, target_batch_size: int, arms: Sequence[PlannedArm], default: str
) -> StoredName:
    """The name of the stored ladder from `baseline` to the target that has runs of `arms`, and of them alone.

    The one called `default`, whatever it trains; else the newest; `default` if there is none. Creates nothing.
    """
    wanted = {arm.arm.name: arm.recipe for arm in arms if not arm.awaits_distances}
    kind = (digest_of(baseline), target_batch_size)
    ladders = [one for one in store.ladders() if (digest_of(one.baseline), one.target_batch_size) == kind]
    trained = {run.number: run.recipe for run in (store.runs() if ladders else ())}

    def fits(ladder: Ladder) -> bool:
        own = [(wanted[arm], trained[number]) for arm, number in ladder.arms if arm in wanted]
        # A run may have joined from a ladder of other rules, but not all of them.
        rules = [(_options(asked), _options(there)) for asked, there in own if there.adapted_from is not None]
        alike = not rules or any(asked == there for asked, there in rules)
        return bool(own) and alike and all(digest_of(asked) == digest_of(there) for asked, there in own)

    names = [ladder.name for ladder in reversed(ladders) if ladder.name == default or fits(ladder)]
    if not names:
        return StoredName(default)
    name = default if default in names else names[0]
    return StoredName(name, tuple(other for other in names if other != name))


def _options(recipe: Recipe) -> tuple[str, ...]:
    return () if recipe.adapted_from is None else recipe.adapted_from.options
