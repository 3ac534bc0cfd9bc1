"""Groups runs that differ only in their seed."""

import re
import statistics
from collections.abc import Sequence
from typing import Literal

from lbadvisor.comparison.comparison import Group, RunResult, Spread
from lbadvisor.comparison.results import accuracy_of
from lbadvisor.recipe.identity import digest_of

Members = tuple[str, tuple[RunResult, ...]]
"""A group's label and its runs."""


def grouped(results: Sequence[RunResult], labels: Sequence[tuple[int, str]]) -> tuple[Members, ...]:
    """Groups of runs that differ only in their seed, each under one of the `labels` (run's number, arm's name).

    In the order of the runs. A run without a label, given next to a ladder, joins the arm that trains the same, if only
    one does. A group has one run of each seed: another with the same identity starts a new group. Several runs without
    a label are named by their common name without the seed at its end; labels are made unique.
    """
    named = dict(labels)
    members: dict[tuple[str | None, str, int], list[RunResult]] = {}
    recipes = [digest_of(result.run.recipe) for result in results]
    labels_of: dict[str, set[str]] = {}
    for result, recipe in zip(results, recipes, strict=True):
        if result.run.number in named:
            labels_of.setdefault(recipe, set()).add(named[result.run.number])
    for result, recipe in zip(results, recipes, strict=True):
        known = labels_of.get(recipe, set())
        label = named.get(result.run.number, next(iter(known)) if len(known) == 1 else None)
        again = 0
        while any(other.run.seed == result.run.seed for other in members.get((label, recipe, again), ())):
            again += 1
        members.setdefault((label, recipe, again), []).append(result)
    taken: set[str] = set()
    groups = []
    for (given, _, _), runs in members.items():
        label = given or _name_of(runs)
        unique, again = label, 2
        while unique in taken:
            unique, again = f"{label} ({again})", again + 1
        taken.add(unique)
        groups.append((unique, tuple(runs)))
    return tuple(groups)


def _name_of(runs: Sequence[RunResult]) -> str:
    name = runs[0].run.name
    return name if len(runs) == 1 else re.sub(r"[-_.]?s\d+$", "", name) or name


def names_of(members: Sequence[Members], table: Literal["data", "model"]) -> tuple[list[str], list[str]]:
    """The names of the runs' data sets or networks, in order, and the runs trained elsewhere that do not tell it."""
    names, silent = set(), []
    for run in (result.run for _, runs in members for result in runs):
        recorded = run.recipe.recorded
        name: str | None = getattr(run.recipe, table).name
        if recorded is not None and recorded.hides(f"{table}.name"):
            # A name that a recipe cannot express is a further setting.
            name = (recorded.model_extra or {}).get(table)
        if name is None:
            silent.append(run.name)
        else:
            names.add(str(name))
    return sorted(names), silent


def group_of(members: Members) -> Group:
    """The group as a record."""
    label, runs = members
    return Group(
        label=label,
        runs=tuple(result.run.number for result in runs),
        seeds=tuple(result.run.seed for result in runs),
        accuracy=spread([accuracy_of(result) for result in runs]),
    )


def spread(values: Sequence[float | None]) -> Spread | None:
    """Mean and sample standard deviation of the known values; None if there are none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(len(known), statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None)
