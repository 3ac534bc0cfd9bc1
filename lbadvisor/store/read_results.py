"""Reads runs' results for comparing, by SQL: of two million measurements, a few hundred rows become records."""

from collections.abc import Callable, Sequence
from dataclasses import fields

from sqlalchemy import ColumnElement, Connection, select

from lbadvisor.comparison.comparison import Position, RunResult, Standing
from lbadvisor.records.axis import AXIS_FIELDS, reaches
from lbadvisor.records.run import Measurement, Run
from lbadvisor.store.tables import measurements

_M = measurements.c
_ROW = tuple(measurements.c[field.name] for field in fields(Measurement))
ReadMeasurement = Callable[..., Measurement]
"""Makes the record of a row."""

# One sweep over a run's rows; every number leaves out NULL (nan). A clipped share is a mean over the updates since the
# previous measurement, whose number varies: it is looked up for clipped rows only, which are few in a clipping warm-up.
# A window over all rows takes five times as long.
_SWEEP = """
SELECT max(evaluation_accuracy_percent), min(CASE WHEN evaluation_loss < 9e999 THEN evaluation_loss END),
       sum(clipped_share IS NULL),
       total(CASE WHEN clipped_share <> 0 THEN clipped_share * ("update" - coalesce(
           (SELECT max(before."update") FROM measurements AS before
            WHERE before.run = here.run AND before."update" < here."update"), 0)) END)
FROM measurements AS here WHERE run = ?
"""


def read_result(connection: Connection, run: Run, record: ReadMeasurement) -> RunResult:
    """The run's last, final and best measurements, and its share of clipped updates."""
    of_run = _M.run == run.number

    def first(*conditions: ColumnElement[bool], newest: bool = False) -> Measurement | None:
        order = _M["update"].desc() if newest else _M["update"]
        row = connection.execute(select(*_ROW).where(of_run, *conditions).order_by(order).limit(1)).one_or_none()
        return None if row is None else record(*row)

    accuracy, loss, unknown, clipped = connection.exec_driver_sql(_SWEEP, (run.number,)).one()
    last = first(newest=True)
    return RunResult(
        run=run,
        last=last,
        final=first(_M.evaluation_accuracy_percent.is_not(None), newest=True),
        best=None if accuracy is None else first(_M.evaluation_accuracy_percent == accuracy),
        best_loss=None if loss is None else first(_M.evaluation_loss == loss),
        clipped_percent=None if last is None or unknown else 100 * clipped / last.update,
    )


def read_standing(
    connection: Connection, run_numbers: Sequence[int], position: Position, record: ReadMeasurement
) -> Standing:
    """The runs' measurements at the position; None for those that did not get there."""
    column = _M[AXIS_FIELDS[position.axis]]
    measured, evaluated = [], []
    for number in run_numbers:
        newest = select(*_ROW).where(_M.run == number).order_by(_M["update"].desc()).limit(1)
        last = connection.execute(newest).one_or_none()
        found: list[Measurement | None] = [None, None]
        if last is not None and reaches(record(*last), position.axis, position.value):
            until = newest.where(column <= position.value)
            rows = (until, until.where(_M.evaluation_accuracy_percent.is_not(None)))
            taken = (connection.execute(row).one_or_none() for row in rows)
            found = [None if row is None else record(*row) for row in taken]
        measured.append(found[0])
        evaluated.append(found[1])
    return Standing(position, tuple(measured), tuple(evaluated))
