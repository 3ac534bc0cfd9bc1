"""What is read of one run to compare it: from all its measurements, or as the store takes it from the database."""

import math
from collections.abc import Callable, Iterable, Sequence

from lbadvisor.advisor.axis import position_of, reaches
from lbadvisor.advisor.comparison import Position, RunResult, RunSummary, Standing
from lbadvisor.advisor.records import Measurement, Run


def result_of(run: Run, measurements: Sequence[Measurement]) -> RunResult:
    """The result of a run, from all its measurements in the order of their updates."""
    evaluated = [m for m in measurements if m.evaluation_accuracy_percent is not None]
    return RunResult(
        run=run,
        last=measurements[-1] if measurements else None,
        final=evaluated[-1] if evaluated else None,
        best=_best(evaluated, lambda m: m.evaluation_accuracy_percent, max),
        best_loss=_best(evaluated, lambda m: m.evaluation_loss, min),
        clipped_percent=_clipped_percent(measurements),
    )


def standing_of(position: Position, runs: Sequence[Sequence[Measurement]]) -> Standing:
    """Where runs stood at a position, from all the measurements of each."""
    reached = [_up_to(position, measurements) for measurements in runs]
    evaluated = ([m for m in before if m.evaluation_accuracy_percent is not None] for before in reached)
    return Standing(
        position=position,
        measured=tuple(before[-1] if before else None for before in reached),
        evaluated=tuple(before[-1] if before else None for before in evaluated),
    )


def summary_of(result: RunResult) -> RunSummary:
    """The run in one row."""
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
        final_accuracy_percent=accuracy_of(result.final),
        best_accuracy_percent=accuracy_of(result.best),
        test_accuracy_percent=run.test_accuracy_percent,
        seconds=None if result.last is None else result.last.seconds,
        changed_at=run.changed_at,
    )


def accuracy_of(measurement: Measurement | None) -> float | None:
    """The accuracy in percent that was evaluated; None where there is no measurement, or it is not finite."""
    return None if measurement is None else finite(measurement.evaluation_accuracy_percent)


def finite(value: float | None) -> float | None:
    """The value, None where it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def _up_to(position: Position, measurements: Sequence[Measurement]) -> Sequence[Measurement]:
    if not measurements or not reaches(measurements[-1], position.axis, position.value):
        return ()
    return [m for m in measurements if position_of(m, position.axis) <= position.value]


def _best(
    evaluated: Sequence[Measurement],
    value_of: Callable[[Measurement], float | None],
    choose: Callable[[Iterable[float]], float],
) -> Measurement | None:
    """The first measurement with the best finite value."""
    taken = [(value, m) for m in evaluated if (value := finite(value_of(m))) is not None]
    if not taken:
        return None
    best = choose([value for value, _ in taken])
    return next(m for value, m in taken if value == best)


def _clipped_percent(measurements: Sequence[Measurement]) -> float | None:
    # Each share is a mean over the updates since the measurement before, which are not equally many.
    clipped, before = 0.0, 0
    for measurement in measurements:
        clipped += measurement.clipped_share * (measurement.update - before)
        before = measurement.update
    return 100 * clipped / before if before and math.isfinite(clipped) else None
