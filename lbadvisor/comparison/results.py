"""What comparing reads of a run, taken from all of its measurements; the store takes the same by SQL."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lbadvisor.comparison.comparison import Position, RunResult, RunSummary, Standing
from lbadvisor.records.axis import Axis
from lbadvisor.records.quantities import ACCURACY, CLOCKS, EVALUATED, QUANTITIES, RATED, SECONDS, Better, Quantity
from lbadvisor.records.run import Measurement, Run, RunStatus


def result_of(run: Run, measurements: Sequence[Measurement]) -> RunResult:
    """The result of a run from its measurements, in the order of their updates."""
    evaluated = [m for m in measurements if is_evaluated(m)]
    best = {quantity.key: _best(evaluated, quantity) for quantity in RATED}
    return RunResult(
        run=run,
        last=_filled(measurements, evaluated=False),
        final=_filled(evaluated, evaluated=True),
        best={key: found for key, found in best.items() if found is not None},
        clipped_percent=_clipped_percent(measurements),
    )


def is_evaluated(measurement: Measurement) -> bool:
    """Whether an evaluation is part of the measurement."""
    return any(getattr(measurement, quantity.key) is not None for quantity in EVALUATED)


def _filled(measurements: Sequence[Measurement], *, evaluated: bool) -> Measurement | None:
    """The last one, with what it lacks of the quantities, `evaluated` or not, as they were told last before it."""
    latest: dict[str, Any] = {
        quantity.key: next((v for m in reversed(measurements) if (v := getattr(m, quantity.key)) is not None), None)
        for quantity in QUANTITIES
        if quantity.evaluated is evaluated
    }
    return replace(measurements[-1], **latest) if measurements else None


def value_of(quantity: Quantity, measurement: Measurement | None) -> float | None:
    """The quantity's value as it is shown, in its unit; None if there is none, or it is not finite."""
    if measurement is None:
        return None
    value = finite(getattr(measurement, quantity.key))
    return value if value is None or quantity.factor == 1 else quantity.factor * value


def _best(measurements: Sequence[Measurement], quantity: Quantity) -> Measurement | None:
    taken = [(value, m) for m in measurements if (value := value_of(quantity, m)) is not None]
    choose = max if quantity.better is Better.HIGHER else min
    return choose(taken, key=lambda one: one[0])[1] if taken else None


def _clipped_percent(measurements: Sequence[Measurement]) -> float | None:
    # Each share is a mean over the updates since the measurement before, which are not equally many.
    clipped, before = 0.0, 0
    for measurement in measurements:
        if measurement.clipped_share is None:
            return None
        clipped += measurement.clipped_share * (measurement.update - before)
        before = measurement.update
    return 100 * clipped / before if before and math.isfinite(clipped) else None


def position_of(measurement: Measurement, axis: Axis) -> float:
    """Where the measurement stands on the axis: updates, epochs, examples or seconds; nan if it does not tell."""
    position = getattr(measurement, CLOCKS[axis].key)
    return math.nan if position is None else float(position)


def reaches(last: Measurement, axis: Axis, value: float) -> bool:
    """Whether a run whose last measurement is `last` got as far as `value` on the axis.

    One that a further update would carry beyond it did: lengths in epochs are rounded to whole updates.
    """
    position = position_of(last, axis)
    return position >= value or position + position / last.update > value


def standing_of(runs: Sequence[Sequence[Measurement]], position: Position) -> Standing:
    """Where runs stood at a position, from the measurements of each."""
    measured, evaluated = [], []
    for measurements in runs:
        until = [m for m in measurements if position_of(m, position.axis) <= position.value]
        reached = bool(measurements) and reaches(measurements[-1], position.axis, position.value)
        measured.append(_filled(until, evaluated=False) if reached else None)
        evaluated.append(_filled([m for m in until if is_evaluated(m)], evaluated=True) if reached else None)
    return Standing(position, tuple(measured), tuple(evaluated))


def accuracy_of(result: RunResult) -> float | None:
    """The last accuracy in percent; None if there is none, or the run diverged, whose earlier values are no result."""
    return None if result.run.status is RunStatus.DIVERGED else value_of(ACCURACY, result.final)


def finite(value: float | None) -> float | None:
    """The value; None if it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def shared_positions(results: Sequence[RunResult]) -> tuple[Position, ...]:
    """The furthest updates and examples that all runs with an accuracy reached; empty if all of them end there."""
    finals = [result.final for result in results if result.final is not None and accuracy_of(result) is not None]
    if len(finals) < 2:
        return ()
    positions = []
    for axis in (Axis.UPDATE, Axis.EXAMPLE):
        ends = [position_of(final, axis) for final in finals]
        if min(ends) < max(ends):
            positions.append(Position(axis, min(ends)))
    return tuple(positions)


def summary_of(result: RunResult) -> RunSummary:
    """One run in one row."""
    run, adapted = result.run, result.run.recipe.adapted_from
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
        final_accuracy_percent=value_of(ACCURACY, result.final),
        best_accuracy_percent=value_of(ACCURACY, result.best.get(ACCURACY.key)),
        seconds=value_of(SECONDS, result.last),
        changed_at=run.changed_at,
    )
