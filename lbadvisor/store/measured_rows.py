"""Writes, reads and deletes what was measured in a run: its measurements and readings."""

import math
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection, delete, func, or_, select

from lbadvisor.records.quantities import EVALUATED, Quantity
from lbadvisor.records.run import Measurement, Reading
from lbadvisor.store.rows import FIELDS, reader_of_run
from lbadvisor.store.tables import measurements
from lbadvisor.store.tables import readings as table
from lbadvisor.store.write_rows import insert_or

was_evaluated = or_(*(measurements.c[quantity.key].is_not(None) for quantity in EVALUATED))
"""Whether an evaluation is part of a row."""


def write_measured(
    connection: Connection, run_number: int, taken: Sequence[Measurement], readings: Sequence[Reading]
) -> None:
    """Write both; rows with the same key are replaced."""
    rows = [{"run": run_number, **{name: getattr(one, name) for name in FIELDS}} for one in taken]
    connection.execute(insert_or(connection, "replace", measurements), rows)
    if readings:
        connection.execute(
            insert_or(connection, "replace", table), [{"run": run_number, **asdict(one)} for one in readings]
        )


def delete_measured(connection: Connection, run_number: int, after_update: int) -> None:
    """Delete what was measured after an update."""
    for rows in (measurements, table):
        connection.execute(delete(rows).where(rows.c.run == run_number, rows.c["update"] > after_update))


def read_measurements(connection: Connection, run_number: int, *, evaluated_only: bool) -> list[Measurement]:
    """The run's measurements, by update; all, or those with an evaluation."""
    query = select(*(measurements.c[name] for name in FIELDS)).where(measurements.c.run == run_number)
    if evaluated_only:
        query = query.where(was_evaluated)
    record = reader_of_run(connection, run_number)
    return [record(*row) for row in connection.execute(query.order_by(measurements.c["update"]))]


def read_readings(connection: Connection, run_number: int, quantities: Sequence[Quantity]) -> list[Reading]:
    """The run's readings of the quantities, of all if there are none, by update, `linear 2` before `linear 10`."""
    query = select(table.c["update"], table.c.quantity, table.c.part, table.c.value).where(table.c.run == run_number)
    if quantities:
        query = query.where(table.c.quantity.in_([quantity.key for quantity in quantities]))
    order = (table.c["update"], table.c.quantity, func.length(table.c.part), table.c.part)
    rows = connection.execute(query.order_by(*order))
    # A nan is stored as NULL.
    return [
        Reading(update, quantity, part, math.nan if value is None else value) for update, quantity, part, value in rows
    ]
