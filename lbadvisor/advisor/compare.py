"""Runs set side by side: what differs between them, how they ended, and how much of the generalization gap is closed.

The first run is the baseline of every difference: difference = this run minus the first. Runs that differ in nothing
but the seed are one group, and the first group is the baseline of every gap (`gap.py`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from lbadvisor.advisor.columns import Column, default_columns, values_of
from lbadvisor.advisor.comparison import Change, Comparison, Gap, Group, GroupGap, Metric, RunResult, Standing
from lbadvisor.advisor.conclusion import conclusion_of
from lbadvisor.advisor.gap import group_gaps
from lbadvisor.advisor.groups import Labels, grouped, groups_of, spread_of
from lbadvisor.advisor.recipe import fields_of
from lbadvisor.advisor.records import Run, RunStatus
from lbadvisor.advisor.results import summary_of
from lbadvisor.advisor.schedule import in_updates
from lbadvisor.errors import UsageError

# Prose and provenance: they differ between any baseline and its adaptation, and decide no result.
_NO_CAUSE = re.compile(r"name|description|adapted_from\..*")


def compare_runs(
    results: Sequence[RunResult],
    *,
    labels: Labels = (),
    standings: Sequence[Standing] = (),
    columns: Sequence[Column] | None = None,
) -> Comparison:
    """Two or more runs side by side, those of the first group (`groups.grouped`) as the baseline.

    `labels` names groups, as the arms of a ladder do. The metrics are those of `columns`, else `default_columns`; of
    these, one at a position is left out where `standings`, in the order of `results`, do not hold that position, while
    a column asked for needs it (`columns.positions_of`; ValueError). Raises `UsageError` for fewer than two runs and
    for a run given twice.
    """
    if len(results) < 2:
        raise UsageError(f"comparing takes two runs or more: {len(results)} given")
    numbers = [result.run.number for result in results]
    for result in results:
        if numbers.count(result.run.number) > 1:
            raise UsageError(f"run {result.run.number} ({result.run.name}) is given twice: name each run once")
    members = grouped(results, labels)
    ordered = list(chain.from_iterable(members))
    places = [numbers.index(result.run.number) for result in ordered]
    standings = [_ordered(standing, places) for standing in standings]
    groups = groups_of(members, labels)
    if columns is None:
        known = [standing.position for standing in standings]
        columns = [one for one in default_columns(ordered) if one.position is None or one.position in known]
    return Comparison(
        runs=tuple(summary_of(result) for result in ordered),
        groups=groups,
        changed=_changes([result.run for result in ordered]),
        metrics=tuple(_metric(column, ordered, groups, standings) for column in columns),
        gap=_gap(groups, members),
        notes=tuple(_notes(groups, ordered)),
    )


def _ordered(standing: Standing, places: Sequence[int]) -> Standing:
    return replace(
        standing,
        measured=tuple(standing.measured[place] for place in places),
        evaluated=tuple(standing.evaluated[place] for place in places),
    )


def _changes(runs: Sequence[Run]) -> tuple[Change, ...]:
    per_run = [_fields(run) for run in runs]
    names = dict.fromkeys(name for fields in per_run for name in fields)
    rows = (Change(name, tuple(fields.get(name) for fields in per_run)) for name in names)
    return tuple(row for row in rows if any(value != row.values[0] for value in row.values))


def _fields(run: Run) -> dict[str, object]:
    fields: dict[str, object] = {
        name: value for name, value in fields_of(in_updates(run.recipe)) if not _NO_CAUSE.fullmatch(name)
    }
    if run.recipe.adapted_from is not None:
        # One field and not one per part: to have adapted nothing is a value as well.
        fields["adapted_from.parts"] = run.recipe.adapted_from.parts
        fields["adapted_from.lr_rule"] = run.recipe.adapted_from.lr_rule
    return fields | {"seed": run.seed, "device": run.environment.device}


def _metric(
    column: Column, results: Sequence[RunResult], groups: Sequence[Group], standings: Sequence[Standing]
) -> Metric:
    values = values_of(column, results, standings)
    per_group, begin = [], 0
    for group in groups:
        per_group.append(values[begin : begin + len(group.runs)])
        begin += len(group.runs)
    return Metric(
        column.name,
        column.label,
        column.better,
        values,
        differences=tuple(_minus(value, values[0]) for value in values),
        spreads=tuple(spread_of(members) for members in per_group),
    )


def _gap(groups: Sequence[Group], results: Sequence[Sequence[RunResult]]) -> Gap:
    runs = [result.run for result in chain.from_iterable(results)]
    datasets = _datasets(runs)
    if len(datasets) > 1:
        nothing = tuple(GroupGap(group.label, None, None, None, 0, None, None, None) for group in groups)
        why = f"No gap: the runs are of different data sets ({', '.join(datasets)})."
        return Gap(None, None, None, None, 1, None, nothing, why)
    first = results[0][0].run
    naive = next((i for i, members in enumerate(results) if i > 0 and _is_naive(members[0].run, first)), None)
    gaps = group_gaps(groups, results, naive)
    large = len(groups) - 1 if naive is None else naive
    others = [place for place in range(1, len(groups)) if place != naive]
    other = others[-1] if naive is not None and others else None
    spoken_of = large if other is None else other
    return Gap(
        points=gaps[large].points if len(groups) > 1 else None,
        points_interval=gaps[large].points_interval,
        closed_percent=None if other is None else gaps[other].closed_percent,
        interval=None if other is None else gaps[other].closed_interval,
        seeds=_seeds_behind(gaps[spoken_of], groups[0], groups[spoken_of]),
        naive_group=None if naive is None else groups[naive].label,
        groups=gaps,
        conclusion=conclusion_of(groups, gaps, runs, large=large, naive=naive),
    )


def _seeds_behind(gap: GroupGap, first: Group, group: Group) -> int:
    """How many seeds the intervals of a gap rest on: its pairs, or the smaller of two groups that are not paired."""
    if gap.points_interval is None or first.accuracy is None or group.accuracy is None:
        return 1
    return gap.pairs or min(first.accuracy.n, group.accuracy.n)


def _is_naive(run: Run, first: Run) -> bool:
    adapted = run.recipe.adapted_from
    if adapted is None or adapted.parts or adapted.additions:
        return False
    return run.recipe.batch.size > first.recipe.batch.size


def _notes(groups: Sequence[Group], results: Sequence[RunResult]) -> Iterator[str]:
    runs = [result.run for result in results]
    datasets, networks = _datasets(runs), sorted({run.recipe.model.name for run in runs})
    if len(datasets) > 1:
        yield f"the runs are of different data sets ({', '.join(datasets)}): the generalization gap is not defined"
    if len(networks) > 1:
        yield f"the runs are of different networks ({', '.join(networks)}): a gap is then not one of the batch alone"
    one, several = ([g.label for g in groups if (len(g.runs) > 1) is many] for many in (False, True))
    if one and several:
        yield (
            f"groups of one seed ({', '.join(one)}) stand beside groups of several ({', '.join(several)}): a single "
            "run may lie anywhere in its group's spread"
        )
    for result in results:
        run = result.run
        if run.status is not RunStatus.COMPLETE:
            why = f": {run.ended_because}" if run.ended_because else ""
            yield f"{run.name} stands at update {run.update} of {run.updates} ({run.status}{why})"
        if result.last is None:
            yield f"{run.name} has no measurement"
        elif result.final is None:
            yield f"{run.name} has no evaluation, so no accuracy"


def _datasets(runs: Sequence[Run]) -> list[str]:
    return sorted({run.recipe.data.name for run in runs})


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other
