"""The fields of a recipe by their dotted paths, and the kind of value in each."""

import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Literal, Union, get_args, get_origin

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_model import RecipeModel

Kind = type[str] | type[int] | type[float] | type[bool]


@cache
def recipe_fields() -> dict[str, frozenset[Kind]]:
    """Every path with the kinds of its values; `[]` is an element of a list, as in `schedule.milestones[].epoch`."""
    found: dict[str, frozenset[Kind]] = {}
    for path, kind in _of_table(Recipe, ""):
        found[path] = found.get(path, frozenset()) | {kind}
    return found


def _of_table(table: type[RecipeModel], lead: str) -> Iterator[tuple[str, Kind]]:
    for name, field in table.model_fields.items():
        yield from _of_value(field.annotation, f"{lead}{field.alias or name}")


def _of_value(annotation: object, path: str) -> Iterator[tuple[str, Kind]]:
    origin, inner = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, RecipeModel):
        yield from _of_table(annotation, f"{path}.")
    elif origin is Annotated:
        yield from _of_value(inner[0], path)
    elif origin in (Union, types.UnionType):
        for one in inner:
            yield from _of_value(one, path)
    elif origin is tuple:
        yield from _of_value(inner[0], f"{path}[]")
    elif origin is Literal:
        yield path, type(inner[0])
    elif annotation in (str, int, float, bool):
        yield path, annotation
    elif annotation is not types.NoneType:
        raise TypeError(f"{path}: a recipe has no values of {annotation}")
