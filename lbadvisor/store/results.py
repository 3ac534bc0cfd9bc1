"""What comparing reads of runs, taken by SQL: of two million measurements some hundred rows become records."""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields

from sqlalchemy import ColumnElement, Connection, case, func, select

from lbadvisor.advisor.axis import AXIS_FIELDS
from lbadvisor.advisor.comparison import Position, RunResult, Standing
from lbadvisor.advisor.records import Measurement, Run
from lbadvisor.store.tables import measurements

_M = measurements.c
_ROW = tuple(measurements.c[field.name] for field in fields(Measurement))
INFINITE = math.inf
ReadMeasurement = Callable[..., Measurement]
"""Makes the record of a row."""


def read_result(connection: Connection, run: Run, record: ReadMeasurement) -> RunResult:
    """The run's last, final and best measurements, and its share of clipped updates."""
    of_run = _M.run == run.number

    def first(*conditions: ColumnElement[bool], newest: bool = False) -> Measurement | None:
        order = _M["update"].desc() if newest else _M["update"]
        row = connection.execute(select(*_ROW).where(of_run, *conditions).order_by(order).limit(1)).one_or_none()
        return None if row is None else record(*row)

    finite_loss = case((_M.evaluation_loss < INFINITE, _M.evaluation_loss))
    # One sweep over the run's rows; a NULL (nan) is left out of each.
    extremes = select(
        func.max(_M.evaluation_accuracy_percent), func.min(finite_loss), func.max(_M.clipped_share), func.count()
    )
    accuracy, loss, clipped, count = connection.execute(extremes.where(of_run)).one()
    return RunResult(
        run=run,
        last=first(newest=True),
        final=first(_M.evaluation_accuracy_percent.is_not(None), newest=True),
        best=None if accuracy is None else first(_M.evaluation_accuracy_percent == accuracy),
        best_loss=None if loss is None else first(_M.evaluation_loss == loss),
        clipped_percent=_clipped_percent(connection, run.number) if clipped else (0.0 if count else None),
    )


def _clipped_percent(connection: Connection, run_number: int) -> float | None:
    # Each share is a mean over the updates since the measurement before, which are not equally many.
    before = func.lag(_M["update"], 1, 0).over(order_by=_M["update"])
    rows = select(_M.clipped_share.label("share"), (_M["update"] - before).label("length"), _M["update"].label("at"))
    of_run = rows.where(_M.run == run_number).subquery()
    total, unknown, end = connection.execute(
        select(func.sum(of_run.c.share * of_run.c.length), func.sum(of_run.c.share.is_(None)), func.max(of_run.c["at"]))
    ).one()
    return None if unknown or not end else 100 * float(total) / end


def read_standing(
    connection: Connection, run_numbers: Sequence[int], position: Position, record: ReadMeasurement
) -> Standing:
    """Where the runs stood at the position; None for those that did not get there."""
    column = _M[AXIS_FIELDS[position.axis]]
    measured, evaluated = [], []
    for number in run_numbers:
        of_run = _M.run == number
        reached = connection.scalar(select(func.max(column)).where(of_run))
        found: list[Measurement | None] = []
        for conditions in ((), (_M.evaluation_accuracy_percent.is_not(None),)):
            row = None
            if reached is not None and reached >= position.value:
                query = select(*_ROW).where(of_run, column <= position.value, *conditions)
                row = connection.execute(query.order_by(_M["update"].desc()).limit(1)).one_or_none()
            found.append(None if row is None else record(*row))
        measured.append(found[0])
        evaluated.append(found[1])
    return Standing(position, tuple(measured), tuple(evaluated))
