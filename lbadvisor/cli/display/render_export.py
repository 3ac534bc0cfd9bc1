"""Measurements of runs, all of them, for other programs."""

import csv
import dataclasses
import io
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from lbadvisor.cli.display.render_comparison import json_ready
from lbadvisor.records.run import Measurement

if TYPE_CHECKING:
    from lbadvisor.runs.selection import Selection
    from lbadvisor.store import Store

_FIELDS = tuple(field.name for field in dataclasses.fields(Measurement))


Write = Callable[[str], object]
"""Takes one text after the other, such as the `write` of a file."""


def write_csv(write: Write, store: "Store", selection: "Selection") -> None:
    """One row per measurement, in full precision: the run's name, arm and seed, then the fields; nan as `nan`."""
    labels = dict(selection.labels)
    write(_line(["run", "arm", "seed", *_FIELDS]))
    for run in selection.runs:
        # One run at a time: they may be many and long.
        for measurement in store.measurements(run.number):
            values = [getattr(measurement, field) for field in _FIELDS]
            write(_line([run.name, labels.get(run.number), run.seed, *values]))


def write_json(write: Write, store: "Store", selection: "Selection") -> None:
    """One object: `schema`, and for each of `runs` the run, its `arm` in a ladder or null, and its `measurements`."""
    labels = dict(selection.labels)
    body = {
        "schema": 1,
        "runs": [
            dataclasses.asdict(run, dict_factory=json_ready)
            | {
                "arm": labels.get(run.number),
                "measurements": [
                    dataclasses.asdict(m, dict_factory=json_ready) for m in store.measurements(run.number)
                ],
            }
            for run in selection.runs
        ],
    }
    write(json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _line(cells: list[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
