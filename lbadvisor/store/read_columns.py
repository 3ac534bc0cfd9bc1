"""A run's measurements read as columns: two million rows in two seconds, and as records in half a minute."""

import math
from array import array
from itertools import chain

from sqlalchemy import Connection

from lbadvisor.records.measured_columns import Columns
from lbadvisor.store.sqlite import driver_rows

# What is not finite is infinite (?1): an array has no place for None.
_ROWS = """
SELECT "update", seconds, coalesce(loss, ?1), lr, coalesce(gradient_norm, ?1), coalesce(clipped_share, ?1),
       coalesce(weight_distance, ?1), coalesce(evaluation_accuracy_percent, ?1)
FROM measurements WHERE run = ?2 ORDER BY "update"
"""
_CLOCK = """
SELECT epoch / "update", CAST(examples AS REAL) / "update"
FROM measurements WHERE run = ? ORDER BY "update" DESC LIMIT 1
"""
_WIDTH = 8


def read_columns(connection: Connection, run_number: int) -> Columns:
    """What was measured in the run; empty columns where nothing was, or there is no such run."""
    values = array("d", chain.from_iterable(driver_rows(connection, _ROWS, math.inf, run_number)))
    epochs, examples = next(driver_rows(connection, _CLOCK, run_number), (math.nan, math.nan))
    return Columns(epochs, examples, *(values[start::_WIDTH] for start in range(_WIDTH)))
