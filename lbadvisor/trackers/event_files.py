"""TensorBoard's event files: scalars are read from them, and a run's measurements are written to one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lbadvisor.diagnostics.advance import Advance
from lbadvisor.errors import LbadvisorError, UsageError
from lbadvisor.records.run import Run
from lbadvisor.runs.importing import Sheet, SheetRow
from lbadvisor.store import Store
from lbadvisor.trackers.scalars import scalars_of

STEP, WALL_TIME = "step", "wall_time"
"""Columns besides the tags: the step, and the seconds since the first event."""

SUFFIX = ".lbadvisor"
"""How the name of an event file ends that was written here."""


def events_sheet(path: Path) -> Sheet:
    """The scalars in an event file or a folder of them: a row for each step, a column for each tag.

    Raises `UsageError` if there are none, and `LbadvisorError` without the package tensorboard.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError as error:
        raise _missing(error) from error
    files = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
    files.Reload()
    points = [(tag, one, one.value) for tag in files.Tags()["scalars"] for one in files.Scalars(tag)]
    for tag in files.Tags()["tensors"]:  # so TensorFlow 2 writes scalars
        arrays = [(one, make_ndarray(one.tensor_proto)) for one in files.Tensors(tag)]
        points += [(tag, one, float(value)) for one, value in arrays if value.ndim == 0 and value.dtype.kind in "fiu"]
    if not points:
        raise UsageError(
            f"{path}: it has no scalars of TensorBoard: give one of its event files, a folder of them, or a table "
            "whose name ends in .csv"
        )
    began = min(one.wall_time for _, one, _ in points)
    steps: dict[int, dict[str, Any]] = {}
    for tag, one, value in points:
        steps.setdefault(one.step, {STEP: one.step, WALL_TIME: one.wall_time - began})[tag] = value
    tags = dict.fromkeys(tag for tag, *_ in points)
    return Sheet(
        path, [*tags, STEP, WALL_TIME], [SheetRow(f"{path}: step {step}", steps[step]) for step in sorted(steps)]
    )


def write_events(store: Store, run: Run, folder: Path) -> Iterator[Advance]:
    """Write the run's measurements into a folder of its name in `folder`, with the update as the step.

    The tags are the keys of quantities. Replaces what was written for the run before; other event files stay. Raises
    `LbadvisorError` without the package tensorboard, or if the folder cannot be written.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise _missing(error) from error
    name = re.sub(r"[^\w.+-]+|^\.+", "-", run.name)
    own = folder / (name if name == run.name else f"{name}-{run.number}")
    try:
        before = [path for path in own.glob("events.out.tfevents.*") if path.name.endswith(SUFFIX)]
        writer = EventFileWriter(str(own), filename_suffix=SUFFIX)
        measured = scalars_of(store, run)
        for done, (measurement, scalars) in enumerate(measured, start=1):
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()])
            wall_time = run.created_at.timestamp() + (measurement.seconds or 0.0)
            writer.add_event(Event(wall_time=wall_time, step=measurement.update, summary=summary))
            yield Advance(f"writing {run.name}", done, len(measured), "measurements")
        writer.close()
        for path in before:
            path.unlink()
    except OSError as error:
        raise LbadvisorError(f"{own} cannot be written: {error.strerror or error}") from error


def _missing(error: ImportError) -> LbadvisorError:
    return LbadvisorError(f"TensorBoard's package is not installed ({error}): pip install 'lbadvisor[tensorboard]'")
