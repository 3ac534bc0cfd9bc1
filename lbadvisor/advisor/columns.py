"""Which numbers a comparison shows: columns such as `best accuracy`, `update of best` or `accuracy at 5000`.

QUANTITY                   at the end: the last measurement or evaluation (`final QUANTITY` is the same)
best accuracy              the highest; `best evaluation loss` the lowest
QUANTITY of best           where the accuracy was best; `QUANTITY of best evaluation loss` where that loss was
QUANTITY at NUMBER         the last one at or before so many updates, epochs, examples or seconds
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from lbadvisor.advisor.axis import Axis
from lbadvisor.advisor.coherence import did_you_mean
from lbadvisor.advisor.comparison import Better, Position, RunResult, Standing
from lbadvisor.advisor.quantities import QUANTITIES, Quantity, value_of
from lbadvisor.advisor.results import finite
from lbadvisor.errors import UsageError


class When(StrEnum):
    """Which measurement of a run a column shows."""

    FINAL = "final"
    BEST = "best accuracy"
    BEST_LOSS = "best evaluation loss"
    AT = "at"


@dataclass(frozen=True, slots=True)
class Column:
    """One number of every run. `position` is where it is taken, for AT alone; `name` and `label` are the metric's."""

    quantity: Quantity
    when: When
    name: str
    label: str
    better: Better
    position: Position | None = None


def parse_columns(texts: Sequence[str], axis: Axis) -> tuple[Column, ...]:
    """The columns that the texts name, each a list with commas between; positions are on `axis`.

    Raises `UsageError` for what is no column, with a near word, and for one that is named twice.
    """
    found = [_parsed(word.strip(), axis) for text in texts for word in text.split(",")]
    for place, column in enumerate(found):
        if column in found[:place]:
            raise UsageError(f"the column `{column.label}` is named twice")
    return tuple(found)


def default_columns(results: Sequence[RunResult]) -> tuple[Column, ...]:
    """What is shown where nothing else is asked for.

    Accuracy at equal updates and at equal examples is among it, those being as many as every evaluated run reached; and
    test accuracy where a run has one.
    """
    columns = [
        *(_at_the_end("accuracy"), _where_best(When.BEST, "accuracy"), _where_best(When.BEST, "updates")),
        *_at_equal_lengths(results),
        *(_at_the_end("evaluation loss"), _where_best(When.BEST_LOSS, "evaluation loss")),
        *(_where_best(When.BEST_LOSS, "updates"), _at_the_end("training loss"), _at_the_end("weight distance")),
        *(_at_the_end(words) for words in ("updates", "epochs", "examples", "seconds", "clipped updates")),
    ]
    if any(result.run.test_accuracy_percent is not None for result in results):
        columns.insert(3, _at_the_end("test accuracy"))
    return tuple(columns)


def positions_of(columns: Sequence[Column]) -> tuple[Position, ...]:
    """Where the columns are taken, each position once: for each, `values_of` needs the runs' standing."""
    return tuple(dict.fromkeys(column.position for column in columns if column.position is not None))


def values_of(column: Column, results: Sequence[RunResult], standings: Sequence[Standing]) -> tuple[float | None, ...]:
    """The column's number in each run, None where it is not known or not finite."""
    return tuple(finite(value) for value in _values(column, results, standings))


def _values(column: Column, results: Sequence[RunResult], standings: Sequence[Standing]) -> list[float | None]:
    quantity = column.quantity
    if column.when is When.AT:
        standing = next((one for one in standings if one.position == column.position), None)
        if standing is None:
            raise ValueError(f"{column.label}: where the runs stood there was not given")
        return [value_of(quantity, m) for m in (standing.evaluated if quantity.evaluated else standing.measured)]
    if column.when is When.FINAL and quantity.field is None:
        return [
            result.clipped_percent if quantity.key == "clipped_percent" else result.run.test_accuracy_percent
            for result in results
        ]
    if column.when is When.FINAL:
        return [value_of(quantity, result.final if quantity.evaluated else result.last) for result in results]
    return [value_of(quantity, result.best if column.when is When.BEST else result.best_loss) for result in results]


def _at_the_end(words: str) -> Column:
    quantity = QUANTITIES[words]
    return Column(quantity, When.FINAL, quantity.final_key, quantity.label, quantity.better)


def _where_best(when: When, words: str) -> Column:
    quantity = QUANTITIES[words]
    best = "accuracy" if when is When.BEST else "evaluation_loss"
    if quantity.words == when.removeprefix("best "):
        return Column(quantity, when, f"best_{quantity.key}", f"best {quantity.label}", quantity.better)
    return Column(
        quantity, when, f"best_{best}_{quantity.key}", f"{quantity.one} of {when.replace('evaluation ', '')}",
        Better.NEITHER,
    )  # fmt: skip


def _at(quantity: Quantity, position: Position, name: str | None = None, where: str | None = None) -> Column:
    word, comma, unit = quantity.label.partition(",")
    return Column(
        quantity,
        When.AT,
        name or f"{quantity.key}_at_{position.axis}_{position.value:.15g}",
        f"{word} at {where or f'{position.axis} {_grouped(position.value)}'}{comma}{unit}",
        quantity.better,
        position,
    )


def _at_equal_lengths(results: Sequence[RunResult]) -> list[Column]:
    finals = [result.final for result in results if result.final is not None]
    if not finals:
        return []
    updates, examples = min(m.update for m in finals), min(m.examples for m in finals)
    return [
        _at(
            QUANTITIES["accuracy"],
            Position(axis, shared),
            f"accuracy_percent_at_equal_{words}",
            f"equal {words} ({_grouped(shared)})",
        )
        for axis, shared, words in ((Axis.UPDATE, updates, "updates"), (Axis.EXAMPLE, examples, "examples"))
    ]


def _grouped(number: float) -> str:
    return f"{number:,.15g}".replace(",", " ")


def _parsed(text: str, axis: Axis) -> Column:
    words = " ".join(text.split())
    if found := re.fullmatch(r"(.+?) at (.+)", words):
        return _at(_quantity(found[1], text, measured=True), Position(axis, _number(found[2], text)))
    if found := re.fullmatch(r"(.+?) of (best.*)", words):
        when = _best(found[2].replace("best", "best accuracy") if found[2] == "best" else found[2], text)
        return _where_best(when, _quantity(found[1], text, measured=True).words)
    if words.startswith("best "):
        when = _best(words, text)
        return _where_best(when, when.removeprefix("best "))
    return _at_the_end(_quantity(words.removeprefix("final "), text, measured=False).words)


def _quantity(words: str, text: str, *, measured: bool) -> Quantity:
    for quantity in QUANTITIES.values():
        if words in (quantity.words, quantity.one):
            if measured and quantity.field is None:
                raise UsageError(f"column `{text}`: a run has {quantity.words} once, not at each measurement")
            return quantity
    raise UsageError(f"column `{text}`: there is no `{words}`: {did_you_mean(words, QUANTITIES)}")


def _best(words: str, text: str) -> When:
    for when in (When.BEST, When.BEST_LOSS):
        if words == when:
            return when
    raise UsageError(f"column `{text}`: {did_you_mean(words, [When.BEST, When.BEST_LOSS])}")


def _number(literal: str, text: str) -> float:
    try:
        number = float(literal)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise UsageError(f"column `{text}`: `{literal}` is no number above 0")
    return number
