"""From pydantic's errors to plain sentences about a recipe."""

import json
import re
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, Literal, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_model import RecipeModel
from lbadvisor.recipe.suggestion import did_you_mean
from lbadvisor.recipe.toml_places import TomlPath


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong at a path, and whether the key, its value, or the table that lacks it is at fault.

    `override` is the command line's `table.key=value`, if that is itself invalid.
    """

    path: TomlPath
    message: str
    on: Literal["key", "value", "table"] = "value"
    hint: str | None = None
    override: str | None = None


def findings_of(error: ValidationError) -> tuple[Finding, ...]:
    """All problems of a `Recipe` in `error`, in the format's order."""
    return tuple(_finding(details) for details in error.errors(include_url=False))


def dotted(path: TomlPath) -> str:
    """`path` as one writes it: `schedule.milestones[0].epoch`, unusual keys in quotes."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if re.fullmatch(r"[A-Za-z0-9_.\[\]-]+", part) else json.dumps(part, ensure_ascii=False)
            text += f".{key}" if text else key
    return text


def _finding(details: ErrorDetails) -> Finding:
    path, holder = _walked(details["loc"])
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    key = str(path[-1]) if path else ""
    match kind:
        case "incoherent":
            return Finding(path, context["message"], hint=context["hint"] or None)
        case "missing":
            return Finding(path, "is missing", "table", _description(holder, key))
        case "extra_forbidden":
            names = [field.alias or name for name, field in holder.model_fields.items()]
            what = "table" if isinstance(value, dict | list) else "key"
            return Finding(path, f"unknown {what}", "key", did_you_mean(key, names))
        case "union_tag_not_found":
            tags = [tag for model in _models_in(Recipe.model_fields[key].annotation) for tag in _tags(model)]
            return Finding((*path, "name"), "is missing", "table", f"choose from {', '.join(tags)}")
        case "union_tag_invalid":
            wrong = value["name"]
            return _no_literal((*path, "name"), context["expected_tags"].replace(", ", " or "), wrong)
        case "literal_error":
            return _no_literal(path, context["expected"], value)
        case "model_type" | "model_attributes_type":
            return Finding(path, f"must be a table, is {_shown(value)}")
        case "tuple_type":
            return Finding(path, f"must be an array, is {_shown(value)}")
        case "string_pattern_mismatch":
            return Finding(path, f"must be letters, digits and . _ + - after a letter or digit, is {_shown(value)}")
    must_be = re.sub(r"^(Input|String) should ", "must ", details["msg"])
    for term, plain in _PLAIN.items():
        must_be = must_be.replace(term, plain)
    return Finding(path, f"{must_be}, is {_shown(value)}")


_PLAIN = {"a valid integer": "a whole number", "a valid boolean": "true or false", " valid ": " "}


def _no_literal(path: TomlPath, expected: str, value: object) -> Finding:
    candidates = re.findall(r"'([^']*)'", expected)
    hint = did_you_mean(value, candidates) if isinstance(value, str) and candidates else None
    allowed = expected.replace("'", '"')
    return Finding(path, f"must be {allowed}, is {_shown(value)}", hint=hint)


def _walked(loc: TomlPath) -> tuple[TomlPath, type[RecipeModel]]:
    """The path in the file for pydantic's `loc`, which also names the kind of optimizer, and the last key's table."""
    path: TomlPath = ()
    holder: type[RecipeModel] = Recipe
    models: list[type[RecipeModel]] = [Recipe]
    for part in loc:
        tagged = [model for model in models if part in _tags(model)] if len(models) > 1 else []
        if tagged:
            models = tagged
            continue
        path = (*path, part)
        if isinstance(part, str) and models:
            holder = models[0]
            field = next((field for name, field in holder.model_fields.items() if part == (field.alias or name)), None)
            models = _models_in(field.annotation) if field else []
    return path, holder


def _models_in(annotation: Any) -> list[type[RecipeModel]]:
    if isinstance(annotation, type) and issubclass(annotation, RecipeModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _tags(model: type[RecipeModel]) -> tuple[str, ...]:
    return get_args(model.model_fields["name"].annotation) if "name" in model.model_fields else ()


def _description(holder: type[RecipeModel], key: str) -> str | None:
    field = next(field for name, field in holder.model_fields.items() if key == (field.alias or name))
    models = _models_in(field.annotation)
    return field.description or (models[0].__doc__ if len(models) == 1 else None)


def _shown(value: object) -> str:
    """A value as TOML writes it, or its kind if that is long."""
    match value:
        case dict():
            return "a table"
        case list() | tuple():
            return "an array"
        case datetime() | date() | time():
            return value.isoformat()
        case int() if not isinstance(value, bool) and value.bit_length() > 128:
            return f"an integer of {value.bit_length()} bits"
        case float():
            return repr(value)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
