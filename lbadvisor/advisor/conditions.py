"""Conditions that choose runs: `batch=1024`, `status!=diverged`, `optimizer.lr>=0.1`."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lbadvisor.advisor.recipe import Recipe, Scalar, fields_of
from lbadvisor.advisor.records import Run
from lbadvisor.errors import UsageError

_FORM = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.\[\]]*)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*")

SHORT: dict[str, Callable[[Run], Scalar | None]] = {
    "name": lambda run: run.name,
    "number": lambda run: run.number,
    "recipe": lambda run: run.recipe.adapted_from.recipe if run.recipe.adapted_from else run.recipe.name,
    "batch": lambda run: run.recipe.batch.size,
    "adapted": lambda run: ",".join(run.recipe.adapted_from.parts) or "none" if run.recipe.adapted_from else None,
    "seed": lambda run: run.seed,
    "status": lambda run: run.status.value,
    "update": lambda run: run.update,
    "updates": lambda run: run.updates,
    "device": lambda run: run.environment.device,
    "guarantee": lambda run: None if run.guarantee is None else run.guarantee.value,
}
"""What a condition may name besides a recipe's dotted fields."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A field (a short word or a recipe's dotted path), an operator, and the value as it was written."""

    field: str
    operator: str
    value: str


def parse_condition(text: str) -> Condition:
    """The condition that `text` writes down. Raises `UsageError`, with a near field."""
    match = _FORM.fullmatch(text)
    if match is None or not match[3]:
        raise UsageError(f"--where {text!r}: give field=value, or with != < <= > >= between; as in batch=1024")
    field, operator, value = match.groups()
    head = field.split(".")[0].split("[")[0]
    if field not in SHORT and ("." not in field or head not in Recipe.model_fields):
        near = difflib.get_close_matches(field, SHORT, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(SHORT)}, and a recipe's table.key"
        raise UsageError(f"--where {text!r}: no field `{field}`: {hint}")
    condition = Condition(field, operator, value)
    if operator not in ("=", "!=") and _number(value) is None:
        raise UsageError(f"--where {text!r}: {operator} compares numbers, {value!r} is none")
    return condition


def meets(run: Run, conditions: Sequence[Condition]) -> bool:
    """Whether the run meets every one of the conditions; a field that it does not have meets only `!=`."""
    return all(_meets(run, condition) for condition in conditions)


def _meets(run: Run, condition: Condition) -> bool:
    if condition.field in SHORT:
        found = SHORT[condition.field](run)
    else:
        found = dict(fields_of(run.recipe)).get(condition.field)
    if found is None:
        return (condition.operator == "!=") is not (condition.value == "none")
    if condition.operator in ("=", "!="):
        return _equal(found, condition.value) is (condition.operator == "=")
    number = _number(condition.value)
    if number is None or isinstance(found, str | bool):
        return False
    return {
        "<": found < number,
        "<=": found <= number,
        ">": found > number,
        ">=": found >= number,
    }[condition.operator]


def _equal(found: Scalar, value: str) -> bool:
    if isinstance(found, bool):
        return value == str(found).lower()
    if isinstance(found, str):
        return found == value
    return _number(value) == found


def _number(text: str) -> float | None:
    try:
        return float(text.replace("_", ""))
    except ValueError:
        return None
