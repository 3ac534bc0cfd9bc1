"""Runs set side by side: what differs between them, how they ended, and how much of the generalization gap is closed.

The first run is the baseline of every difference: difference = this run minus the first. The generalization gap has the
opposite sign in accuracy, being a difference of errors: gap = validation error of this run minus that of the first, in
points (Hoffer et al. 2017, arXiv:1705.08741); it is positive where this run is worse.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from lbadvisor.advisor.parts import Part
from lbadvisor.advisor.recipe import fields_of
from lbadvisor.advisor.records import Measurement, Run, RunStatus
from lbadvisor.advisor.schedule import in_updates
from lbadvisor.errors import UsageError

ONE_SEED_NOISE_POINTS = 0.3
"""Differences of one seed each below this say nothing: in the paper's Table 1 the small batch itself loses to the
adapted large one by 0.24 points (Hoffer et al. 2017, ResNet44)."""

# Prose and provenance: they differ between any baseline and its adaptation, and decide no result.
_NO_CAUSE = re.compile(r"name|description|adapted_from\..*")


class Better(StrEnum):
    """Which direction of a metric is the good one."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in one row. `parts` are the adapted ones, None for a recipe that was not adapted; accuracies are None
    before the first evaluation and where they are not finite; `seconds` is training time.
    """

    number: int
    name: str
    recipe: str
    batch_size: int
    parts: tuple[Part, ...] | None
    seed: int
    device: str
    status: RunStatus
    update: int
    updates: int
    final_accuracy_percent: float | None
    best_accuracy_percent: float | None
    seconds: float | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """A field in which the runs differ: its value in each run, None where it is absent."""

    field: str
    values: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of every run, None where it is not known or not finite; `differences` are to the first run."""

    name: str
    label: str
    better: Better
    values: tuple[float | None, ...]
    differences: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class RunGap:
    """The gap of one run to the first in points, and how many percent of the naive large batch's gap it closes."""

    run: str
    points: float | None
    closed_percent: float | None


@dataclass(frozen=True, slots=True)
class Gap:
    """The generalization gap, in points of validation error.

    `points` is that of the naive large-batch run (adapted with no part, batch larger than the first run's) where there
    is one, else that of the last run; `closed_percent` is the share of the naive gap that the last other run closes,
    None where that has no meaning. `interval` is None: it takes several seeds, and there is one each.
    """

    points: float | None
    closed_percent: float | None
    interval: tuple[float, float] | None
    seeds: int
    naive_run: str | None
    runs: tuple[RunGap, ...]
    conclusion: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two or more runs side by side; every tuple of values is in the order of `runs`."""

    runs: tuple[RunSummary, ...]
    changed: tuple[Change, ...]
    metrics: tuple[Metric, ...]
    gap: Gap
    notes: tuple[str, ...]


Recorded = tuple[Run, Sequence[Measurement]]


def summary_of(run: Run, measurements: Sequence[Measurement]) -> RunSummary:
    """One run in one row."""
    adapted = run.recipe.adapted_from
    return RunSummary(
        number=run.number,
        name=run.name,
        recipe=adapted.recipe if adapted else run.recipe.name,
        batch_size=run.recipe.batch.size,
        parts=adapted.parts if adapted else None,
        seed=run.seed,
        device=run.environment.device,
        status=run.status,
        update=run.update,
        updates=run.updates,
        final_accuracy_percent=_last(m.evaluation_accuracy_percent for m in measurements),
        best_accuracy_percent=_best(measurements, _accuracy, max)[0],
        seconds=_last(m.seconds for m in measurements),
        changed_at=run.changed_at,
    )


def compare_runs(runs: Sequence[Recorded]) -> Comparison:
    """Two or more runs side by side, the first as the baseline; measurements of each in the order of their updates.

    Raises `UsageError` for fewer than two runs and for a run given twice.
    """
    if len(runs) < 2:
        raise UsageError(f"comparing takes two runs or more: {len(runs)} given")
    numbers = [run.number for run, _ in runs]
    for run, _ in runs:
        if numbers.count(run.number) > 1:
            raise UsageError(f"run {run.number} ({run.name}) is given twice: name each run once")
    return Comparison(
        runs=tuple(summary_of(run, measurements) for run, measurements in runs),
        changed=_changes([run for run, _ in runs]),
        metrics=_metrics(runs),
        gap=_gap(runs),
        notes=tuple(_notes(runs)),
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


def _metrics(runs: Sequence[Recorded]) -> tuple[Metric, ...]:
    measured = [measurements for _, measurements in runs]

    def metric(
        name: str, label: str, better: Better, value_of: Callable[[Sequence[Measurement]], float | None]
    ) -> Metric:
        values = tuple(value_of(measurements) for measurements in measured)
        return Metric(name, label, better, values, tuple(_minus(value, values[0]) for value in values))

    higher, lower, neither = Better.HIGHER, Better.LOWER, Better.NEITHER
    return (
        metric("final_accuracy_percent", "accuracy, %", higher, lambda ms: _last(map(_accuracy, ms))),
        metric("best_accuracy_percent", "best accuracy, %", higher, lambda ms: _best(ms, _accuracy, max)[0]),
        metric("best_accuracy_update", "update of best accuracy", neither, lambda ms: _best(ms, _accuracy, max)[1]),
        metric("final_evaluation_loss", "evaluation loss", lower, lambda ms: _last(map(_evaluation_loss, ms))),
        metric("best_evaluation_loss", "best evaluation loss", lower, lambda ms: _best(ms, _evaluation_loss, min)[0]),
        metric(
            "best_evaluation_loss_update",
            "update of best loss",
            neither,
            lambda ms: _best(ms, _evaluation_loss, min)[1],
        ),
        metric("final_training_loss", "training loss", lower, lambda ms: _last(m.loss for m in ms)),
        metric("weight_distance", "weight distance", neither, lambda ms: _last(m.weight_distance for m in ms)),
        metric("updates", "updates", neither, lambda ms: _last(m.update for m in ms)),
        metric("epochs", "epochs", lower, lambda ms: _last(m.epoch for m in ms)),
        metric("examples", "examples", lower, lambda ms: _last(m.examples for m in ms)),
        metric("seconds", "seconds", lower, lambda ms: _last(m.seconds for m in ms)),
        metric("clipped_percent", "clipped updates, %", neither, _clipped_percent),
    )


def _gap(runs: Sequence[Recorded]) -> Gap:
    first = runs[0][0]
    accuracies = [_last(map(_accuracy, measurements)) for _, measurements in runs]
    points: list[float | None] = [_minus(accuracies[0], accuracy) for accuracy in accuracies]
    if len(_datasets(runs)) > 1:
        points = [None] * len(runs)
    naive = next((i for i, (run, _) in enumerate(runs) if i > 0 and _is_naive(run, first)), None)
    large = len(runs) - 1 if naive is None else naive
    whole = None if naive is None else points[naive]
    entries = tuple(
        RunGap(run.name, points[i], None if i in (0, naive) else _closed_percent(whole, points[i]))
        for i, (run, _) in enumerate(runs)
    )
    others = [entry for i, entry in enumerate(entries) if i not in (0, naive)]
    last_other = others[-1] if naive is not None and others else None
    if len(_datasets(runs)) > 1:
        sentences = [f"No gap: the runs are of different data sets ({', '.join(_datasets(runs))})."]
    else:
        sentences = [
            *_sentences(entries[0].run, entries[large], naive is not None, last_other),
            *_caveats([run for run, _ in runs]),
        ]
    return Gap(
        points=points[large],
        closed_percent=None if last_other is None else last_other.closed_percent,
        interval=None,
        seeds=1,
        naive_run=None if naive is None else entries[naive].run,
        runs=entries,
        conclusion=" ".join(sentences),
    )


def _is_naive(run: Run, first: Run) -> bool:
    adapted = run.recipe.adapted_from
    return adapted is not None and not adapted.parts and run.recipe.batch.size > first.recipe.batch.size


def _closed_percent(whole: float | None, left: float | None) -> float | None:
    return None if whole is None or whole <= 0 or left is None else (whole - left) / whole * 100


def _sentences(base: str, large: RunGap, naive: bool, other: RunGap | None) -> Iterator[str]:
    if large.points is None:
        yield f"No gap: {base} and {large.run} are not both evaluated."
        return
    yield f"{'The naive large batch ' if naive else ''}{large.run} is {_against(large.points)} {base}."
    if not naive:
        yield "What share of a gap is closed takes the large batch without any adaptation as well (--adapt none)."
    elif large.points <= 0:
        yield "There is no gap to close."
    elif other is None:
        yield "No other run tries to close that gap."
    elif other.points is None or other.closed_percent is None:
        yield f"{other.run} is not evaluated, so what it closes is not known."
    else:
        closes = f"closes {other.closed_percent:.0f}% of" if other.closed_percent >= 0 else "widens"
        yield f"{other.run} {closes} that gap: it is {_against(other.points)} {base}."
        if large.points < ONE_SEED_NOISE_POINTS:
            yield "The gap itself is too small for that share to mean anything."


def _caveats(runs: Sequence[Run]) -> Iterator[str]:
    unfinished = [run.name for run in runs if run.status is not RunStatus.COMPLETE]
    if unfinished:
        yield f"Not complete: {', '.join(unfinished)}; the numbers are those so far."
    yield f"One seed each: differences below about {ONE_SEED_NOISE_POINTS:g} points are not evidence."


def _against(points: float) -> str:
    if round(points, 2) == 0:
        return "level with"
    return f"{abs(points):.2f} points {'worse' if points > 0 else 'better'} than"


def _notes(runs: Sequence[Recorded]) -> Iterator[str]:
    datasets, networks = _datasets(runs), sorted({run.recipe.model.name for run, _ in runs})
    if len(datasets) > 1:
        yield f"the runs are of different data sets ({', '.join(datasets)}): the generalization gap is not defined"
    if len(networks) > 1:
        yield f"the runs are of different networks ({', '.join(networks)}): a gap is then not one of the batch alone"
    for run, measurements in runs:
        if run.status is not RunStatus.COMPLETE:
            why = f": {run.ended_because}" if run.ended_because else ""
            yield f"{run.name} stands at update {run.update} of {run.updates} ({run.status}{why})"
        if not measurements:
            yield f"{run.name} has no measurement"
        elif all(_accuracy(m) is None for m in measurements):
            yield f"{run.name} has no evaluation, so no accuracy"


def _datasets(runs: Sequence[Recorded]) -> list[str]:
    return sorted({run.recipe.data.name for run, _ in runs})


def _accuracy(measurement: Measurement) -> float | None:
    return measurement.evaluation_accuracy_percent


def _evaluation_loss(measurement: Measurement) -> float | None:
    return measurement.evaluation_loss


def _last(values: Iterable[float | None]) -> float | None:
    """The last value that was taken; None where none was, or where it is not finite."""
    taken = [value for value in values if value is not None]
    return taken[-1] if taken and math.isfinite(taken[-1]) else None


def _best(
    measurements: Sequence[Measurement],
    value_of: Callable[[Measurement], float | None],
    choose: Callable[[Iterable[float]], float],
) -> tuple[float | None, int | None]:
    """The best finite value and the first update that had it."""
    taken = [(value, m.update) for m in measurements if (value := value_of(m)) is not None and math.isfinite(value)]
    if not taken:
        return None, None
    best = choose([value for value, _ in taken])
    return best, next(update for value, update in taken if value == best)


def _clipped_percent(measurements: Sequence[Measurement]) -> float | None:
    # Each share is a mean over the updates since the measurement before, which are not equally many.
    clipped, before = 0.0, 0
    for measurement in measurements:
        clipped += measurement.clipped_share * (measurement.update - before)
        before = measurement.update
    return 100 * clipped / before if before and math.isfinite(clipped) else None


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other
