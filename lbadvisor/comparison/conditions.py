"""Conditions that select runs: `batch=1024`, `status!=diverged`, `accuracy>=98`, `optimizer.lr>=0.1`."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lbadvisor.comparison.comparison import RunResult
from lbadvisor.comparison.metrics import Column, value_in
from lbadvisor.errors import UsageError
from lbadvisor.recipe.fields import Kind, recipe_fields
from lbadvisor.recipe.recipe import Scalar, fields_of
from lbadvisor.recipe.suggestion import nearest
from lbadvisor.records.quantities import QUANTITIES, RATED
from lbadvisor.records.run import Run, RunStatus

_FORM = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.\[\]]*)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*")

SHORT: dict[str, tuple[Kind, Callable[[Run], Scalar | None]]] = {
    "name": (str, lambda run: run.name),
    "number": (int, lambda run: run.number),
    "recipe": (str, lambda run: run.recipe.adapted_from.recipe if run.recipe.adapted_from else run.recipe.name),
    "batch": (int, lambda run: run.recipe.batch.size),
    "adapted": (
        str,
        lambda run: ",".join(run.recipe.adapted_from.parts) or "none" if run.recipe.adapted_from else None,
    ),
    "seed": (int, lambda run: run.seed),
    "status": (str, lambda run: run.status.value),
    "update": (int, lambda run: run.update),
    "updates": (int, lambda run: run.updates),
    "device": (str, lambda run: run.environment.device),
    "guarantee": (str, lambda run: None if run.guarantee is None else run.guarantee.value),
    "test_accuracy": (float, lambda run: run.test_accuracy_percent),
}
"""What a condition may name besides a recipe's dotted fields, and what kind of value it is."""

MEASURED = {
    word: column
    for quantity in QUANTITIES
    for word, column in (
        (quantity.label.replace(" ", "_"), Column(quantity, "last")),
        *([(f"best_{quantity.label.replace(' ', '_')}", Column(quantity, "best"))] if quantity in RATED else []),
    )
    if word not in SHORT
}
"""What takes a run's measurements to know: the last value of each quantity, and the best one."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A field (a short word or a recipe's dotted path), an operator, and the value as it was written."""

    field: str
    operator: str
    value: str

    @property
    def is_measured(self) -> bool:
        """Whether it takes a run's result to know whether it is met."""
        return self.field in MEASURED


def parse_condition(text: str) -> Condition:
    """The condition that `text` writes down.

    Raises `UsageError` for what is no condition, for an unknown field, with a near one, and for a value that the field
    never has: `batch=large` would choose no run, and say nothing.
    """
    match = _FORM.fullmatch(text)
    if match is None or not match[3]:
        raise UsageError(f"--where {text!r}: give field=value, or another of != < <= > >=, as in batch=1024")
    field, operator, value = match.groups()
    kinds = _kinds(field, text)
    if operator not in ("=", "!="):
        if _number(value) is None:
            raise UsageError(f"--where {text!r}: {operator} compares numbers, but {value!r} is not one")
    elif value != "none" and not any(_fits(kind, value) for kind in kinds):
        wanted = {str: "a word", bool: "true or false"}.get(next(iter(kinds)), "a number")
        raise UsageError(f"--where {text!r}: {field} is {wanted}, or none if it is absent; {value!r} is neither")
    if field == "status" and value not in [*RunStatus]:
        raise UsageError(f"--where {text!r}: no status {value!r}: choose from {', '.join(RunStatus)}")
    return Condition(field, operator, value)


def _kinds(field: str, text: str) -> frozenset[Kind]:
    if field in MEASURED:
        return frozenset({float})
    if field in SHORT:
        return frozenset({SHORT[field][0]})
    if field.startswith("recorded."):
        return frozenset({str})
    known, path = recipe_fields(), re.sub(r"\[[0-9]+\]", "[]", field)
    if path not in known:
        near, words = nearest(field, [*SHORT, *MEASURED, *known]), ", ".join([*SHORT, *MEASURED])
        hint = f"did you mean `{near.replace('[]', '[0]')}`?" if near else f"choose from {words}, and a recipe's fields"
        raise UsageError(f"--where {text!r}: no field `{field}`: {hint}")
    in_updates = path.replace("epoch", "update")
    if in_updates != path and in_updates in known:
        raise UsageError(
            f"--where {text!r}: runs store every length in updates: give {field.replace('epoch', 'update')}"
        )
    return known[path]


def meets(run: Run, conditions: Sequence[Condition], result: RunResult | None = None) -> bool:
    """Whether the run meets every one of the conditions; a field that it does not have meets only `!=`, and `=none`.

    For a measured one the run's `result` is needed; else ValueError.
    """
    return all(_meets(run, condition, result) for condition in conditions)


def _meets(run: Run, condition: Condition, result: RunResult | None) -> bool:
    found: Scalar | None
    if condition.is_measured:
        if result is None:
            raise ValueError(f"{condition.field} takes the run's result")
        found = value_in(MEASURED[condition.field], result)
    elif condition.field in SHORT:
        found = SHORT[condition.field][1](run)
    else:
        found = dict(fields_of(run.recipe)).get(condition.field)
    if found is None:
        return (condition.operator == "!=") is not (condition.value == "none")
    if condition.operator in ("=", "!="):
        return _equal(found, condition.value) is (condition.operator == "=")
    number = _number(condition.value)
    if number is None or isinstance(found, str | bool):
        return False
    return {"<": found < number, "<=": found <= number, ">": found > number, ">=": found >= number}[condition.operator]


def _equal(found: Scalar, value: str) -> bool:
    if isinstance(found, bool):
        return value == str(found).lower()
    if isinstance(found, str):
        return found == value
    return _number(value) == found


def _fits(kind: Kind, value: str) -> bool:
    if kind is bool:
        return value in ("true", "false")
    return kind is str or _number(value) is not None


def _number(text: str) -> float | None:
    try:
        return float(text.replace("_", ""))
    except ValueError:
        return None
