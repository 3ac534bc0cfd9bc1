"""What is wrong in a table of a recipe, and the refusal of it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

FieldPath = tuple[str | int, ...]
Checked = TypeVar("Checked", bound=BaseModel | None)


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken rule: the field's path within its table, what is wrong, and what to do."""

    path: FieldPath
    message: str
    hint: str = ""


def refuse(table: Checked, faults: Iterable[Fault]) -> Checked:
    """`table` itself if there is no fault. Raises `pydantic.ValidationError` with all of them, each at its path."""
    errors = [
        InitErrorDetails(
            type=PydanticCustomError("incoherent", "{message}", {"message": fault.message, "hint": fault.hint}),
            loc=fault.path,
            input=table,
        )
        for fault in faults
    ]
    if errors:
        raise ValidationError.from_exception_data("Recipe", errors)
    return table


def one_of(table: BaseModel, epochs: str, updates: str, *, needed: bool = False) -> Iterator[Fault]:
    """A length is given in one unit: not in both, and not in none if it is needed."""
    given = [field for field in (epochs, updates) if getattr(table, field) is not None]
    if len(given) == 2:
        yield Fault((updates,), f"{epochs} and {updates} are both given", "keep one of them")
    if needed and not given:
        yield Fault((), f"one of {epochs} and {updates} is needed")
