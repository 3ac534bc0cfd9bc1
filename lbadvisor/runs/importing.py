"""Runs from tables of other programs: each row is what was known at an update; all is checked before any is stored."""

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbadvisor.errors import RefusedError, UsageError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates, updates_of
from lbadvisor.recipe.suggestion import did_you_mean
from lbadvisor.records.quantities import ACCURACY, EPOCH, EXAMPLES, UPDATE
from lbadvisor.records.run import Environment, Measured, Run, RunStatus
from lbadvisor.runs.told_numbers import KEYS, checked_numbers, checked_update, measured_of
from lbadvisor.store import Store
from lbadvisor.version import __version__

UNKNOWN = Environment("unknown", "unknown", __version__, "unknown", "unknown", None, None)
"""The environment of a run that another program stored."""


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One row of a table: the place to name if it is wrong, and its cells by column, as text or numbers."""

    place: str
    cells: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table that another program wrote: its columns, and its rows in order."""

    path: Path
    columns: Sequence[str]
    rows: Iterable[SheetRow]


@dataclass(frozen=True, slots=True)
class ColumnSource:
    """Where a quantity comes from: `factor` times the column, plus `offset`."""

    column: str
    factor: float | None = None
    offset: float = 0.0


def csv_sheet(path: Path) -> Sheet:
    """The table in a file of comma-separated values with a row of headings. Raises `UsageError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from error
    reader = csv.reader(text.splitlines())
    columns = [heading.strip() for heading in next(reader, [])]
    if len(set(columns)) < len(columns) or not all(columns):
        raise UsageError(f"{path}:1: the first row must name each column, and no two of them alike")
    return Sheet(path, columns, _csv_rows(path, columns, reader))


def _csv_rows(path: Path, columns: Sequence[str], reader: Any) -> Iterator[SheetRow]:
    for cells in reader:
        place = f"{path}:{reader.line_num}"
        if cells and len(cells) != len(columns):
            raise UsageError(f"{place}: the row has {len(cells)} cells, but there are {len(columns)} columns")
        if cells:
            yield SheetRow(
                place, {column: cell.strip() for column, cell in zip(columns, cells, strict=True) if cell.strip()}
            )


def sources_of(sheet: Sheet, given: Sequence[str]) -> dict[str, ColumnSource]:
    """Which column each quantity comes from: as `given`, such as `accuracy=100*val_acc`, or else of its own name.

    Raises `UsageError`.
    """
    sources = {KEYS[column]: ColumnSource(column) for column in sheet.columns if column in KEYS}
    for text in given:
        word, equals, column = text.partition("=")
        if not equals or word not in KEYS:
            raise UsageError(f"--column {text}: give QUANTITY=COLUMN; of quantities, {did_you_mean(word, KEYS)}")
        sources[KEYS[word]] = _source(text, column, sheet)
    clocks = {UPDATE.key, EXAMPLES.key, EPOCH.key}
    if not sources.keys() - clocks:
        named = ", ".join(sheet.columns)
        raise UsageError(
            f"{sheet.path}: no column is called as a quantity is; name some, as in --column loss=COLUMN. "
            f"Its columns: {named}"
        )
    if not sources.keys() & clocks:
        raise UsageError(
            f"{sheet.path}: no column counts updates, examples or epochs: name it, as in --column "
            f"update=COLUMN. Its columns: {', '.join(sheet.columns)}"
        )
    return sources


def _source(text: str, column: str, sheet: Sheet) -> ColumnSource:
    if column in sheet.columns:
        return ColumnSource(column)
    parts = re.fullmatch(r"(?:([0-9.eE-]+)\*)?(.+?)(?:\+([0-9.]+))?", column)
    name = parts[2] if parts else column
    if parts is None or name not in sheet.columns:
        raise UsageError(f"--column {text}: {sheet.path} has no column {name!r}: {did_you_mean(name, sheet.columns)}")
    try:
        return ColumnSource(name, float(parts[1]) if parts[1] else None, float(parts[3] or 0))
    except ValueError:
        raise UsageError(f"--column {text}: give FACTOR*COLUMN+OFFSET, as in 100*{name} or {name}+1") from None


def measured_in(sheet: Sheet, sources: Mapping[str, ColumnSource], recipe: Recipe) -> list[Measured]:
    """What the rows say, by update; several rows of one update are put together.

    Without updates, they follow from the examples, else the epochs. Raises `UsageError` with the place of the fault.
    """
    numbers_at: dict[int, dict[str, Any]] = {}
    latest = 0
    for row in sheet.rows:
        try:
            told = {key: source for key, source in sources.items() if source.column in row.cells}
            numbers = checked_numbers({key: _value(row, source) for key, source in told.items()})
            update = checked_update(_whole(_update(numbers, recipe)))
            if update < latest:
                raise UsageError(f"update {update} comes after update {latest}: updates must ascend")
        except UsageError as error:
            raise UsageError(f"{row.place}: {error}") from None
        latest = update
        numbers_at.setdefault(update, {}).update(numbers)
    if not numbers_at:
        raise UsageError(f"{sheet.path}: there is nothing in it but the names of columns")
    _refuse_shares(sheet, sources, [n[ACCURACY.key] for n in numbers_at.values() if ACCURACY.key in n])
    return [measured_of(recipe, update, numbers) for update, numbers in numbers_at.items()]


def _value(row: SheetRow, source: ColumnSource) -> Any:
    cell = row.cells[source.column]
    try:
        return (1.0 if source.factor is None else source.factor) * float(cell) + source.offset
    except ValueError:
        raise UsageError(f"{source.column} is {cell!r}: it must be a number") from None


def _update(numbers: Mapping[str, Any], recipe: Recipe) -> float:
    if UPDATE.key in numbers:
        return float(numbers[UPDATE.key])
    if EXAMPLES.key in numbers:
        return float(numbers[EXAMPLES.key]) / recipe.batch.size
    if EPOCH.key not in numbers:
        raise UsageError("the row says neither its update nor its examples or epoch")
    if recipe.recorded is not None and "data.train_examples" in recipe.recorded.unknown:
        raise UsageError("epochs give updates only if the settings have examples: the size of the training set")
    return float(updates_of(numbers[EPOCH.key], recipe.data.train_examples, recipe.batch.size))


def _whole(update: float) -> Any:
    return int(update) if update.is_integer() else update


def _refuse_shares(sheet: Sheet, sources: Mapping[str, ColumnSource], accuracies: Sequence[float]) -> None:
    source = sources.get(ACCURACY.key)
    if source is not None and source.factor is None and 0 < max(accuracies, default=0.0) <= 1:
        raise UsageError(
            f"{sheet.path}: accuracy is in percent, but {source.column} is at most {max(accuracies):g}: give --column "
            f"accuracy=100*{source.column} for shares, or accuracy=1*{source.column} if it is in percent"
        )


def import_measured(
    store: Store, name: str, recipe: Recipe, seed: int, measured: Sequence[Measured], origin: Path
) -> Run:
    """Store the run of a training elsewhere, from what was measured, which ended with the last of it.

    Raises `RefusedError` if a run has the name, and `StoreError`.
    """
    if store.find_run(name) is not None:
        raise RefusedError(f"a run named {name!r} already exists: give another --name, or delete it first")
    recipe, last = in_updates(recipe), measured[-1].measurement
    run = store.add_run(name, recipe, seed, max(recipe.schedule.updates or 1, last.update), UNKNOWN)
    store.record(run.number, [one.measurement for one in measured], [r for one in measured for r in one.readings])
    losses = [one.measurement.loss for one in measured if one.measurement.loss is not None]
    diverged = bool(losses) and not math.isfinite(losses[-1])
    how = f"its loss is {losses[-1]} at the end of" if diverged else "imported from"
    store.set_status(run.number, RunStatus.DIVERGED if diverged else RunStatus.COMPLETE, f"{how} {origin.name}")
    return store.run(name)
