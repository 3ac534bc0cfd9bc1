"""What comparing reads of a run, taken from all of its measurements in plain Python: the store takes it by SQL."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lbadvisor.comparison.comparison import Position, RunResult, Standing
from lbadvisor.comparison.results import is_evaluated, position_of, reaches, value_of
from lbadvisor.records.quantities import QUANTITIES, RATED, Better, Quantity
from lbadvisor.records.run import Measurement, Run


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


def _filled(measurements: Sequence[Measurement], *, evaluated: bool) -> Measurement | None:
    """The last one, with what it lacks of the quantities, `evaluated` or not, as they were told last before it."""
    latest: dict[str, Any] = {
        quantity.key: next((v for m in reversed(measurements) if (v := getattr(m, quantity.key)) is not None), None)
        for quantity in QUANTITIES
        if quantity.evaluated is evaluated
    }
    return replace(measurements[-1], **latest) if measurements else None


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


def standing_of(runs: Sequence[Sequence[Measurement]], position: Position) -> Standing:
    """Where runs stood at a position, from the measurements of each."""
    measured, evaluated = [], []
    for measurements in runs:
        until = [m for m in measurements if position_of(m, position.axis) <= position.value]
        reached = bool(measurements) and reaches(measurements[-1], position.axis, position.value)
        measured.append(_filled(until, evaluated=False) if reached else None)
        evaluated.append(_filled([m for m in until if is_evaluated(m)], evaluated=True) if reached else None)
    return Standing(position, tuple(measured), tuple(evaluated))
