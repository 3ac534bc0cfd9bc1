"""Columns of a comparison as users write them: `best accuracy`, `update of best`, `accuracy at 5000`."""

import math
import re

from lbadvisor.comparison.comparison import Position
from lbadvisor.comparison.metrics import TEST_ACCURACY, Column
from lbadvisor.errors import UsageError
from lbadvisor.recipe.suggestion import did_you_mean
from lbadvisor.records.axis import Axis
from lbadvisor.records.quantities import ACCURACY, CLOCKS, METRIC, QUANTITIES, RATED, Quantity

WORDS = {word: quantity for quantity in (*QUANTITIES, METRIC) for word in (quantity.label, quantity.alias) if word}
_AT = re.compile(r"(.+?) +at +([0-9][0-9_,.eE+]*)(?: +([a-z]+))?")


def parse_columns(text: str, axis: Axis) -> tuple[Column, ...]:
    """The columns that a list such as `best accuracy, update of best, accuracy at 5000` names.

    A quantity alone is its last value. `at` takes the value at or before so many updates, or, by the chosen `axis` or
    the unit behind the number, epochs, examples or seconds. Raises `UsageError`.
    """
    parts = [" ".join(part.split()) for part in text.split(",")]
    if not all(parts):
        raise UsageError(f"--columns {text!r}: a column is empty; give, for example: best accuracy, accuracy at 5000")
    columns = tuple(_column(part, axis) for part in parts)
    for place, column in enumerate(columns):
        if column in columns[:place]:
            raise UsageError(f"--columns {text!r}: `{parts[place]}` is listed twice")
    return columns


def _column(text: str, axis: Axis) -> Column:
    if text == "test accuracy":
        return TEST_ACCURACY
    if match := _AT.fullmatch(text):
        quantity, number, unit = match.groups()
        if quantity == METRIC.label:
            raise UsageError(f"no column `{text}`: of the metric only the last value is compared: give `metric`")
        return Column(_quantity(quantity, text), Position(_axis(unit, axis, text), _number(number, text)))
    for lead in ("update of best", "best"):
        if text == lead or text.startswith(f"{lead} "):
            quantity_word = text[len(lead) :].strip()
            found = _quantity(quantity_word, text) if quantity_word else ACCURACY
            if found not in RATED:
                there = " and ".join(f"a best {quantity.label}" for quantity in RATED)
                raise UsageError(f"no column `{text}`: there is {there}")
            return Column(found, lead)
    return Column(_quantity(text, text), "last")


def _quantity(word: str, text: str) -> Quantity:
    if word not in WORDS:
        hint = did_you_mean(word, [*WORDS, "test accuracy"])
        raise UsageError(f"no column `{text}`: no quantity `{word}`: {hint}")
    return WORDS[word]


def _axis(unit: str | None, axis: Axis, text: str) -> Axis:
    if unit is None:
        return axis
    for known, clock in CLOCKS.items():
        if unit in (clock.unit, clock.unit.removesuffix("s")):
            return known
    units = ", ".join(clock.unit for clock in CLOCKS.values())
    raise UsageError(f"no column `{text}`: no unit `{unit}`: choose from {units}")


def _number(digits: str, text: str) -> float:
    try:
        number = float(digits.replace(",", ""))
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number <= 0:
        raise UsageError(f"no column `{text}`: {digits} is no place above 0")
    return number
