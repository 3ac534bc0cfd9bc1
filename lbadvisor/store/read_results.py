"""Reads runs' results for comparing, by SQL: of two million measurements, a few hundred rows become records."""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields

from sqlalchemy import ColumnElement, Connection, select, text

from lbadvisor.comparison.comparison import Position, RunResult, Standing
from lbadvisor.comparison.results import reaches
from lbadvisor.records.quantities import ACCURACY, CLIPPED_SHARE, CLOCKS, RATED, Better, Quantity
from lbadvisor.records.run import Measurement, Run
from lbadvisor.store.tables import measurements

_M = measurements.c
_EVALUATED = _M[ACCURACY.key].is_not(None)
_ROW = tuple(measurements.c[field.name] for field in fields(Measurement))
ReadMeasurement = Callable[..., Measurement]
"""Makes the record of a row."""


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


def read_result(connection: Connection, run: Run, record: ReadMeasurement) -> RunResult:
    """The run's last, final and best measurements, and its share of clipped updates."""
    of_run = _M.run == run.number

    def first(*conditions: ColumnElement[bool], newest: bool = False) -> Measurement | None:
        order = _M["update"].desc() if newest else _M["update"]
        row = connection.execute(select(*_ROW).where(of_run, *conditions).order_by(order).limit(1)).one_or_none()
        return None if row is None else record(*row)

    unknown, clipped, *values = connection.execute(_SWEEP, {"run": run.number, "infinity": math.inf}).one()
    last = first(newest=True)
    best = {q.key: first(_M[q.key] == value) for q, value in zip(RATED, values, strict=True) if value is not None}
    return RunResult(
        run=run,
        last=last,
        final=first(_EVALUATED, newest=True),
        best={key: found for key, found in best.items() if found is not None},
        clipped_percent=None if last is None or unknown else 100 * clipped / last.update,
    )


def read_standing(
    connection: Connection, run_numbers: Sequence[int], position: Position, record: ReadMeasurement
) -> Standing:
    """The runs' measurements at the position; None for those that did not get there."""
    column = _M[CLOCKS[position.axis].key]
    measured, evaluated = [], []
    for number in run_numbers:
        newest = select(*_ROW).where(_M.run == number).order_by(_M["update"].desc()).limit(1)
        last = connection.execute(newest).one_or_none()
        found: list[Measurement | None] = [None, None]
        if last is not None and reaches(record(*last), position.axis, position.value):
            until = newest.where(column <= position.value)
            rows = (until, until.where(_EVALUATED))
            taken = (connection.execute(row).one_or_none() for row in rows)
            found = [None if row is None else record(*row) for row in taken]
        measured.append(found[0])
        evaluated.append(found[1])
    return Standing(position, tuple(measured), tuple(evaluated))
