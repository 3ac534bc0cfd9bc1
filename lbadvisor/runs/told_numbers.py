"""What a training elsewhere tells of an update: checked numbers, and the measurement and readings that they make."""

import math
import operator
from collections.abc import Mapping
from typing import Any, SupportsFloat, SupportsIndex

from lbadvisor.errors import UsageError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.suggestion import did_you_mean
from lbadvisor.records.quantities import ACCURACY, CLIPPED_SHARE, CLOCKS, QUANTITIES, READINGS_BY_KEY
from lbadvisor.records.run import Measured, Measurement, Reading

KEYS = {ACCURACY.label: ACCURACY.key} | {key: key for key in [q.key for q in QUANTITIES] + list(READINGS_BY_KEY)}
"""The words for what can be told, each with the quantity's key."""

_MOST = {ACCURACY.key: 100.0, CLIPPED_SHARE.key: 1.0}
_CLOCKS = tuple(clock.key for clock in CLOCKS.values())
Told = SupportsFloat | Mapping[str, SupportsFloat]


def checked_update(update: SupportsIndex) -> int:
    """The update. Raises `UsageError` unless it is a whole number from 1 on."""
    try:
        checked = operator.index(update)
    except TypeError:
        raise UsageError(f"update is {update!r}: it must be a whole number") from None
    if checked < 1:
        raise UsageError(f"update is {checked}: updates count from 1, so log update + 1 if yours count from 0")
    return checked


def checked_numbers(told: Mapping[str, Told]) -> dict[str, Any]:
    """The numbers by their quantities' keys; readings by the part of the network as well. Raises `UsageError`."""
    numbers: dict[str, Any] = {}
    for word, value in told.items():
        if word not in KEYS:
            raise UsageError(f"nothing is called {word!r}: {did_you_mean(word, KEYS)}")
        key = KEYS[word]
        if key in numbers:
            raise UsageError(f"{ACCURACY.label} is given twice: as {ACCURACY.label} and as {ACCURACY.key}")
        if key in READINGS_BY_KEY:
            parts = value if isinstance(value, Mapping) else {"": value}
            numbers[key] = {part: _number(word, one) for part, one in parts.items()}
        elif isinstance(value, Mapping):
            raise UsageError(f"{word} is a mapping: only {', '.join(READINGS_BY_KEY)} have parts")
        else:
            numbers[key] = _within(key, word, _number(word, value))
    return numbers


def _number(word: str, value: SupportsFloat) -> float:
    try:
        # A tensor's own number: torch warns of `float` of one that requires a gradient.
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"{word} is {value!r}: it must be a number") from None


def _within(key: str, word: str, value: float) -> float:
    if key in _MOST and not 0 <= value <= _MOST[key]:
        unit = " percent" if key == ACCURACY.key else ""
        raise UsageError(f"{word} is {value:g}: it must be from 0 to {_MOST[key]:g}{unit}")
    if key in _CLOCKS and not 0 <= value < math.inf:
        raise UsageError(f"{word} is {value:g}: it must be a number from 0 on")
    return value


def measured_of(recipe: Recipe, update: int, numbers: Mapping[str, Any]) -> Measured:
    """What checked numbers say of that update; examples and epoch follow from the recipe if they are not among them."""
    values: dict[str, Any] = {quantity.key: numbers.get(quantity.key) for quantity in QUANTITIES}
    examples = values["examples"]
    values |= {"update": update, "examples": update * recipe.batch.size if examples is None else round(examples)}
    unknown = () if recipe.recorded is None else recipe.recorded.unknown
    if values["epoch"] is None and "data.train_examples" not in unknown:
        values["epoch"] = values["examples"] / recipe.data.train_examples
    readings = [
        Reading(update, key, part, value)
        for key in READINGS_BY_KEY
        if key in numbers
        for part, value in numbers[key].items()
    ]
    return Measured(Measurement(**values), tuple(readings))
