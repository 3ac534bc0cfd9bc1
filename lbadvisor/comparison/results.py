"""What comparing reads of a run, taken from all of its measurements; the store takes the same by SQL."""

import math
from collections.abc import Callable, Iterable, Sequence

from lbadvisor.comparison.comparison import Position, RunResult, RunSummary, Standing
from lbadvisor.records.axis import Axis, position_of, reaches
from lbadvisor.records.run import Measurement, Run, RunStatus


def result_of(run: Run, measurements: Sequence[Measurement]) -> RunResult:
    """The result of a run from its measurements, in the order of their updates."""
    evaluated = [m for m in measurements if m.evaluation_accuracy_percent is not None]
    return RunResult(
        run=run,
        last=measurements[-1] if measurements else None,
        final=evaluated[-1] if evaluated else None,
        best=_first_of(evaluated, lambda m: m.evaluation_accuracy_percent, max),
        best_loss=_first_of(evaluated, lambda m: m.evaluation_loss, min),
        clipped_percent=_clipped_percent(measurements),
    )


def _first_of(
    measurements: Sequence[Measurement],
    value_of: Callable[[Measurement], float | None],
    choose: Callable[[Iterable[float]], float],
) -> Measurement | None:
    taken = [(value, m) for m in measurements if (value := value_of(m)) is not None and math.isfinite(value)]
    if not taken:
        return None
    best = choose(value for value, _ in taken)
    return next(m for value, m in taken if value == best)


def _clipped_percent(measurements: Sequence[Measurement]) -> float | None:
    # Each share is a mean over the updates since the measurement before, which are not equally many.
    clipped, before = 0.0, 0
    for measurement in measurements:
        clipped += measurement.clipped_share * (measurement.update - before)
        before = measurement.update
    return 100 * clipped / before if before and math.isfinite(clipped) else None


def standing_of(runs: Sequence[Sequence[Measurement]], position: Position) -> Standing:
    """Where runs stood at a position, from the measurements of each."""
    measured, evaluated = [], []
    for measurements in runs:
        until = [m for m in measurements if position_of(m, position.axis) <= position.value]
        reached = bool(measurements) and reaches(measurements[-1], position.axis, position.value)
        measured.append(until[-1] if until and reached else None)
        seen = [m for m in until if m.evaluation_accuracy_percent is not None]
        evaluated.append(seen[-1] if seen and reached else None)
    return Standing(position, tuple(measured), tuple(evaluated))


def accuracy_of(result: RunResult) -> float | None:
    """The last accuracy in percent; None where there is none, or the run diverged: what it had before is no result."""
    if result.final is None or result.run.status is RunStatus.DIVERGED:
        return None
    return finite(result.final.evaluation_accuracy_percent)


def finite(value: float | None) -> float | None:
    """The value, None where it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def shared_positions(results: Sequence[RunResult]) -> tuple[Position, ...]:
    """The furthest updates and examples that all runs with an accuracy reached; none if all of them end there."""
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
        final_accuracy_percent=None if result.final is None else finite(result.final.evaluation_accuracy_percent),
        best_accuracy_percent=None if result.best is None else result.best.evaluation_accuracy_percent,
        seconds=None if result.last is None else finite(result.last.seconds),
        changed_at=run.changed_at,
    )
