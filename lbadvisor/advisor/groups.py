"""Runs that differ in nothing but the seed, as groups, each with a label of its own."""

import re
from collections.abc import Sequence
from statistics import fmean, stdev

from lbadvisor.advisor.comparison import Group, RunResult, Spread
from lbadvisor.advisor.recipe import recipe_hash
from lbadvisor.advisor.records import Run
from lbadvisor.advisor.results import accuracy_of
from lbadvisor.advisor.schedule import in_updates

Labels = Sequence[tuple[int, str]]
"""(A run's number, the label of its group), as a ladder's (run, arm)."""

_Key = tuple[str, str | None, int]

_SEED = re.compile(r"-s[0-9]+$")


def grouped(results: Sequence[RunResult], labels: Labels = ()) -> list[list[RunResult]]:
    """The results by group, groups and runs within them in the order in which they first come.

    A group has one recipe (in updates, whatever its description) and each seed once: where a seed comes again, as of a
    training that was repeated on another device, it begins a further group, for the spread of a seed over itself is
    not that over seeds. Runs of one recipe and different labels are of different groups; a run without a label joins
    those of its recipe where these have one label.
    """
    label_of = dict(labels)
    hashes = [recipe_hash(in_updates(result.run.recipe)) for result in results]
    labels_of: dict[str, set[str]] = {}
    for result, digest in zip(results, hashes, strict=True):
        if result.run.number in label_of:
            labels_of.setdefault(digest, set()).add(label_of[result.run.number])
    groups: dict[_Key, list[RunResult]] = {}
    for result, digest in zip(results, hashes, strict=True):
        known = labels_of.get(digest, set())
        label = label_of.get(result.run.number, next(iter(known)) if len(known) == 1 else None)
        repeat = 0
        while any(other.run.seed == result.run.seed for other in groups.get((digest, label, repeat), ())):
            repeat += 1
        groups.setdefault((digest, label, repeat), []).append(result)
    return list(groups.values())


def groups_of(grouped_results: Sequence[Sequence[RunResult]], labels: Labels = ()) -> tuple[Group, ...]:
    """The records of the groups that `grouped` made, each with its label."""
    names = _unique_labels([[result.run for result in members] for members in grouped_results], dict(labels))
    return tuple(
        Group(
            label=label,
            runs=tuple(result.run.number for result in members),
            seeds=tuple(result.run.seed for result in members),
            accuracy=spread_of([accuracy_of(result.final) for result in members]),
        )
        for label, members in zip(names, grouped_results, strict=True)
    )


def spread_of(values: Sequence[float | None]) -> Spread | None:
    """Mean and sample standard deviation of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(len(known), fmean(known), stdev(known) if len(known) > 1 else None)


def _unique_labels(groups: Sequence[Sequence[Run]], label_of: dict[int, str]) -> list[str]:
    names = [_label(members, label_of) for members in groups]
    # Where two groups would be called alike, each says its first run.
    return [
        name if names.count(name) == 1 else members[0].name if name == _stem(members) else f"{name} ({members[0].name})"
        for name, members in zip(names, groups, strict=True)
    ]


def _label(members: Sequence[Run], label_of: dict[int, str]) -> str:
    given = [label_of[run.number] for run in members if run.number in label_of]
    return given[0] if given else _stem(members)


def _stem(members: Sequence[Run]) -> str:
    """The runs' name without its seed; a lone run's whole name."""
    return members[0].name if len(members) == 1 else _SEED.sub("", members[0].name)
