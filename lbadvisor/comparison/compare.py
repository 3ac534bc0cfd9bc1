"""Runs set side by side: what differs between them, how they ended, and how much of the generalization gap is closed.

The first group is the baseline of every difference: difference = this minus the first.
"""

from collections.abc import Iterator, Sequence

from lbadvisor.comparison.comparison import Change, Comparison, RunResult, Standing
from lbadvisor.comparison.gap import gap_of
from lbadvisor.comparison.groups import Members, group_of, grouped, names_of
from lbadvisor.comparison.metrics import DEFAULT_COLUMNS, TEST_ACCURACY, Column, metric_column, metrics_of
from lbadvisor.comparison.results import summary_of
from lbadvisor.errors import UsageError
from lbadvisor.recipe.identity import LABELS
from lbadvisor.recipe.recipe import fields_of
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.records.quantities import ACCURACY
from lbadvisor.records.run import Run, RunStatus


def compare_runs(
    results: Sequence[RunResult],
    *,
    labels: Sequence[tuple[int, str]] = (),
    standings: Sequence[Standing] = (),
    columns: Sequence[Column] = (),
) -> Comparison:
    """Two or more runs side by side; the group of the first one is the baseline.

    `labels` (run's number, arm's name) name the groups of a ladder. `standings` say where the runs, in the order given,
    stood at positions that all reached: each gives the accuracy there as a further metric. `columns` are the metrics
    that are wanted, none for the default ones; their positions must be among the standings. Raises `UsageError` for
    fewer than two runs and for a run given twice.
    """
    if len(results) < 2:
        raise UsageError(f"comparing needs at least two runs: {len(results)} given")
    numbers = [result.run.number for result in results]
    for result in results:
        if numbers.count(result.run.number) > 1:
            raise UsageError(f"run {result.run.number} ({result.run.name}) is given twice: name each run once")
    members = grouped(results, labels)
    ordered = [result for _, runs in members for result in runs]
    places = [numbers.index(result.run.number) for result in ordered]
    moved = [
        Standing(s.position, tuple(s.measured[i] for i in places), tuple(s.evaluated[i] for i in places))
        for s in standings
    ]
    tested = [TEST_ACCURACY] if any(result.run.test_accuracy_percent is not None for result in results) else []
    at_equal_lengths = (Column(ACCURACY, standing.position, shared=True) for standing in standings)
    own = metric_column([result.run.recipe for result in results])
    extra = (*tested, *filter(None, [own]), *at_equal_lengths)
    wanted = tuple(columns) or (*DEFAULT_COLUMNS[:1], *extra, *DEFAULT_COLUMNS[1:])
    return Comparison(
        runs=tuple(map(summary_of, ordered)),
        groups=tuple(map(group_of, members)),
        changed=_changes([result.run for result in ordered]),
        metrics=metrics_of(members, moved, wanted),
        gap=gap_of(members, comparable=len(names_of(members, "data")[0]) < 2),
        notes=tuple(_notes(members)),
    )


def _changes(runs: Sequence[Run]) -> tuple[Change, ...]:
    per_run = [_fields(run) for run in runs]
    names = dict.fromkeys(name for fields in per_run for name in fields)
    rows = (Change(name, tuple(fields.get(name) for fields in per_run)) for name in names)
    return tuple(row for row in rows if any(value != row.values[0] for value in row.values))


def _fields(run: Run) -> dict[str, object]:
    fields: dict[str, object] = {
        name: value for name, value in fields_of(in_updates(run.recipe)) if name.split(".")[0] not in LABELS
    }
    if run.recipe.adapted_from is not None:
        # One field and not one per part: to have adapted nothing is a value as well.
        fields["adapted_from.parts"] = run.recipe.adapted_from.parts
        fields["adapted_from.lr_rule"] = run.recipe.adapted_from.lr_rule
    environment = run.environment
    # What decides a run's bits beside its recipe: two runs with other bits differ in one of these fields.
    return fields | {
        "seed": run.seed,
        "device": environment.device,
        "device_name": environment.device_name,
        "torch_version": environment.torch_version,
        "lbadvisor_version": environment.lbadvisor_version,
        "threads": run.threads,
        "micro_batch_size": run.micro_size,
        "shares": run.shares,
        "guarantee": run.guarantee,
    }


def _notes(members: Sequence[Members]) -> Iterator[str]:
    results = [result for _, runs in members for result in runs]
    (datasets, without_data), (networks, without_network) = names_of(members, "data"), names_of(members, "model")
    if len(datasets) > 1:
        yield f"the runs use different data sets ({', '.join(datasets)}), so the generalization gap is undefined"
    if len(networks) > 1:
        yield f"the runs use different networks ({', '.join(networks)}), so a gap is not due to the batch alone"
    for what, silent in (("data set", without_data), ("network", without_network)):
        if silent:
            told = f"{', '.join(silent)}: the {what} is not told"
            yield f"{told}, so the gap means little unless it is the same as the others'"
    seeds = {label: len({result.run.seed for result in runs}) for label, runs in members}
    if min(seeds.values()) == 1 < max(seeds.values()):
        single = [label for label, n in seeds.items() if n == 1]
        yield f"groups of one seed ({', '.join(single)}) beside groups of several: their spread is unknown"
    for result in results:
        run = result.run
        if run.status is not RunStatus.COMPLETE:
            why = f": {run.ended_because}" if run.ended_because else ""
            yield f"{run.name} is at update {run.update} of {run.at_most}{run.updates} ({run.status}{why})"
        if result.last is None:
            yield f"{run.name} has no measurements"
        elif result.final is None:
            yield f"{run.name} has no evaluation, so no accuracy"
