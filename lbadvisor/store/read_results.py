"""Reads runs' results for comparing, by SQL: of two million measurements, a few hundred rows become records."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, text

from lbadvisor.comparison.comparison import Position, RunResult, Standing
from lbadvisor.comparison.results import reaches
from lbadvisor.records.quantities import CLIPPED_SHARE, CLOCKS, METRIC, QUANTITIES, RATED, Better, Quantity
from lbadvisor.records.run import Measurement, Run
from lbadvisor.store.measured_rows import was_evaluated
from lbadvisor.store.rows import FIELDS, reader_of_run
from lbadvisor.store.tables import measurements, readings

_M, _R = measurements.c, readings.c
_LAST_METRIC = select(_R.value).where(_R.quantity == METRIC.key).order_by(_R["update"].desc()).limit(1)
_ROW = tuple(_M[name] for name in FIELDS)


def _best_of(quantity: Quantity) -> str:
    choose = "max" if quantity.better is Better.HIGHER else "min"
    return f"{choose}(CASE WHEN abs({quantity.key}) < :infinity THEN {quantity.key} END)"


# One sweep over a run's rows; every number leaves out NULL (nan). A clipped share is a mean over the updates since the
# previous measurement, whose number varies: it is looked up for clipped rows only, which are few in a clipping warm-up.
# A window over all rows takes five times as long.
_SWEEP = text(f"""
SELECT count(*) - count({CLIPPED_SHARE.key}),
       coalesce(sum(CASE WHEN {CLIPPED_SHARE.key} <> 0 THEN {CLIPPED_SHARE.key} * ("update" - coalesce(
           (SELECT max(before."update") FROM measurements AS before
            WHERE before.run = here.run AND before."update" < here."update"), 0)) END), 0),
       {", ".join(map(_best_of, RATED))}
FROM measurements AS here WHERE run = :run
""")


def read_result(connection: Connection, run: Run) -> RunResult:
    """The run's last, final and best measurements, and its share of clipped updates."""
    of_run, record = _M.run == run.number, reader_of_run(connection, run.number)

    def first(*conditions: ColumnElement[bool], newest: bool = False) -> Measurement | None:
        order = _M["update"].desc() if newest else _M["update"]
        row = connection.execute(select(*_ROW).where(of_run, *conditions).order_by(order).limit(1)).one_or_none()
        return None if row is None else record(*row)

    unknown, clipped, *values = connection.execute(_SWEEP, {"run": run.number, "infinity": math.inf}).one()
    last = first(newest=True)
    best = {q.key: first(_M[q.key] == value) for q, value in zip(RATED, values, strict=True) if value is not None}
    return RunResult(
        run=run,
        last=_filled(connection, run.number, last, evaluated=False),
        final=_filled(connection, run.number, first(was_evaluated, newest=True), evaluated=True),
        best={key: found for key, found in best.items() if found is not None},
        clipped_percent=None if last is None or unknown else 100 * clipped / last.update,
        metric=connection.execute(_LAST_METRIC.where(_R.run == run.number)).scalar(),
    )


def read_standing(connection: Connection, run_numbers: Sequence[int], position: Position) -> Standing:
    """The runs' measurements at the position; None for those that did not get there."""
    column = _M[CLOCKS[position.axis].key]
    measured, evaluated = [], []
    for number in run_numbers:
        record = reader_of_run(connection, number)
        newest = select(*_ROW).where(_M.run == number).order_by(_M["update"].desc()).limit(1)
        last = connection.execute(newest).one_or_none()
        found: list[Measurement | None] = [None, None]
        if last is not None and reaches(record(*last), position.axis, position.value):
            until = newest.where(column <= position.value)
            rows = (until, until.where(was_evaluated))
            taken = (connection.execute(row).one_or_none() for row in rows)
            found = [
                _filled(connection, number, None if row is None else record(*row), evaluated=evaluation)
                for row, evaluation in zip(taken, (False, True), strict=True)
            ]
        measured.append(found[0])
        evaluated.append(found[1])
    return Standing(position, tuple(measured), tuple(evaluated))


def _filled(
    connection: Connection, run_number: int, found: Measurement | None, *, evaluated: bool
) -> Measurement | None:
    """The measurement with what it lacks of the quantities, `evaluated` or not, as they were told last before it."""
    if found is None:
        return None
    latest: dict[str, Any] = {}
    for quantity in QUANTITIES:
        if quantity.evaluated is evaluated and getattr(found, quantity.key) is None:
            column = _M[quantity.key]
            rows = select(column).where(_M.run == run_number, _M["update"] < found.update, column.is_not(None))
            latest[quantity.key] = connection.scalar(rows.order_by(_M["update"].desc()).limit(1))
    return replace(found, **latest)
