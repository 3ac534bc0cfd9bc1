"""What comparing reads of a run's result."""

import math
from collections.abc import Sequence

from lbadvisor.comparison.comparison import Position, RunResult, RunSummary
from lbadvisor.records.axis import Axis
from lbadvisor.records.quantities import ACCURACY, CLOCKS, EVALUATED, SECONDS, Quantity
from lbadvisor.records.run import Measurement, RunStatus


def is_evaluated(measurement: Measurement) -> bool:
    """Whether an evaluation is part of the measurement."""
    return any(getattr(measurement, quantity.key) is not None for quantity in EVALUATED)


def value_of(quantity: Quantity, measurement: Measurement | None) -> float | None:
    """The quantity's value as it is shown, in its unit; None if there is none, or it is not finite."""
    if measurement is None:
        return None
    value = finite(getattr(measurement, quantity.key))
    return value if value is None or quantity.factor == 1 else quantity.factor * value


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
