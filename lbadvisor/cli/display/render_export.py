"""Measurements of runs, all of them, for other programs: text in pieces, as it is read from the store."""

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING

from lbadvisor.cli.display.comma_separated import csv_text
from lbadvisor.cli.display.json_body import json_of
from lbadvisor.records.run import Measurement

if TYPE_CHECKING:
    from lbadvisor.runs.selection import Selection
    from lbadvisor.store import Store

_FIELDS = tuple(field.name for field in fields(Measurement))


def csv_lines(store: "Store", selection: "Selection") -> Iterator[str]:
    """One row per measurement, in full precision: the run's name, arm and seed, then the fields; nan as `nan`."""
    labels = dict(selection.labels)
    yield csv_text([["run", "arm", "seed", *_FIELDS]])
    for run in selection.runs:
        # One run at a time: they may be many and long.
        for measurement in store.measurements(run.number):
            values = [getattr(measurement, field) for field in _FIELDS]
            yield csv_text([[run.name, labels.get(run.number), run.seed, *values]])


def json_lines(store: "Store", selection: "Selection") -> Iterator[str]:
    """One object: `schema`; for each of `runs` the run, its `arm` in a ladder or null, `measurements`, `readings`."""
    labels = dict(selection.labels)
    body = {
        "schema": 1,
        "runs": [
            json_of(run)
            | {
                "arm": labels.get(run.number),
                "measurements": [json_of(m) for m in store.measurements(run.number)],
                "readings": [json_of(reading) for reading in store.readings(run.number)],
            }
            for run in selection.runs
        ],
    }
    yield json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
