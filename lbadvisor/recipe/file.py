"""Recipes as TOML files: all problems are reported at once, each with its place."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tomlkit
from pydantic import BaseModel, ValidationError
from tomlkit.items import AoT, Table

from lbadvisor.errors import RecipeError, RecipeProblem, UsageError
from lbadvisor.recipe.overrides import with_overrides
from lbadvisor.recipe.problems import Finding, dotted, findings_of
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import first_default
from lbadvisor.recipe.toml_places import Place, Places, TomlPath, places_of

MOST_BYTES = 2**20
MOST_LEVELS = 100
MOST_SHOWN = 300
"""Longer lines, in characters, are not shown under their problem."""
_NO_COMMENTS: Mapping[str, str] = MappingProxyType({})


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in the TOML file `path`, with the command line's `table.key=value` overrides applied.

    An override's value is a TOML literal, or else a plain string; arrays are indexed (`schedule.milestones[0].epoch` or
    `.0.epoch`). A length in one unit replaces the same length in the other. The last override of a key wins.
    Raises `RecipeError` with every problem, and `UsageError` if the file cannot be read.
    """
    path = Path(path)
    text = _text_of(path)
    values = _parsed(path, text)
    given, findings = with_overrides(values, overrides)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        findings += findings_of(error)
        raise _recipe_error(path, text, findings, given) from error
    if findings:
        raise _recipe_error(path, text, findings, given)
    return recipe


def checked(recipe: Recipe, origin: str) -> Recipe:
    """`recipe`, validated again (`model_copy` does not validate). Raises `RecipeError` that names `origin`."""
    try:
        return Recipe.model_validate(recipe.model_dump(by_alias=True, exclude_unset=True))
    except ValidationError as error:
        problems = (RecipeProblem(dotted(f.path), f.message, hint=f.hint) for f in findings_of(error))
        raise RecipeError(origin, tuple(problems)) from error


def code_folders(path: Path) -> tuple[Path, ...]:
    """Where the code that a recipe's file names is looked for: beside the file, and in the working folder."""
    return tuple(dict.fromkeys((path.resolve().parent, Path.cwd())))


def located(error: RecipeError, path: Path) -> RecipeError:
    """The error of a recipe in use, each problem of a value that its file `path` has at its place there."""
    text = _text_of(path)
    values = places_of(text).values
    lines, by_name = text.split("\n"), {dotted(place): where for place, where in values.items()}

    def placed(problem: RecipeProblem) -> RecipeProblem:
        where = by_name.get(problem.field)
        if where is None or problem.line is not None:
            return problem
        line = _source_line(lines, where.line)
        return replace(problem, line=where.line, column=where.column, source_line=line)

    problems = tuple(map(placed, error.problems))
    return RecipeError(str(path) if problems != error.problems else error.origin, problems)


def dump_recipe(recipe: Recipe, comments: Mapping[str, str] = _NO_COMMENTS) -> str:
    """`recipe` as TOML: tables in the format's order, without absent values and defaults.

    A field whose default has changed is written even so: every version then reads the same.

    `comments` follow the line of their dotted field, which is then written even if it is a default; a table's comment
    follows its header. Raises `ValueError` for a comment on a field that the recipe does not have.
    """
    left = dict(comments)
    document = tomlkit.document()
    _fill(document, recipe, "", left)
    if left:
        raise ValueError(f"no line for a comment on {', '.join(left)}")
    return tomlkit.dumps(document)


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file{_similar_recipe(path)}") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: is a folder, not a recipe{_similar_recipe(path)}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > MOST_BYTES:
        raise UsageError(f"{path}: is larger than 1 MiB, so it cannot be a recipe")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode().split("\n")
        message = f"is not UTF-8: byte 0x{error.object[error.start]:02x}"
        raise RecipeError(str(path), (RecipeProblem("", message, len(before), len(before[-1]) + 1),)) from error


def _similar_recipe(path: Path) -> str:
    stem = path.name.removesuffix(".toml")
    near = [file for folder in (path.parent, Path("recipes")) for file in sorted(folder.glob("*.toml")) if file != path]
    names = get_close_matches(stem, [file.stem for file in near], n=1)
    found = [file for file in near if file.stem in names]
    return f": did you mean {found[0]}?" if found else ""


def _parsed(path: Path, text: str) -> dict[str, Any]:
    # tomllib's time grows with the square of a dotted key's length, so absurd keys are refused first.
    too_deep = UsageError(f"{path}: is nested more than {MOST_LEVELS} levels deep, so it cannot be a recipe")
    if any(line.count(".") > 1000 for line in text.split("\n")):
        raise too_deep
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise too_deep from None
    except ValueError as error:
        raise RecipeError(str(path), (_syntax_problem(str(error), text),)) from error
    # toml_rs, which finds the places, crashes on absurd nesting.
    level: list[Any] = [values]
    for _ in range(MOST_LEVELS):
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]
        level = [inner for inner in level if isinstance(inner, dict | list)]
    if level:
        raise too_deep
    return values


def _syntax_problem(message: str, text: str) -> RecipeProblem:
    """The problem in tomllib's message, which ends with its place: `(at line 1, column 5)`."""
    lines = text.split("\n")
    what, _, where = message.partition(" (at ")
    said = f"invalid TOML: {what[:1].lower()}{what[1:]}"
    place = re.fullmatch(r"line (\d+), column (\d+)\)", where)
    if place:
        line, column = int(place[1]), int(place[2])
    elif where == "end of document)":
        line, column = len(lines), len(lines[-1]) + 1
    else:
        return RecipeProblem("", said)
    hint = 'put strings in quotes: "..."' if what == "Invalid value" else None
    return RecipeProblem("", said, line, column, _source_line(lines, line), hint)


def _source_line(lines: list[str], number: int) -> str | None:
    line = lines[number - 1].removesuffix("\r")
    return line if len(line) <= MOST_SHOWN else None


def _recipe_error(path: Path, text: str, findings: Sequence[Finding], given: Mapping[TomlPath, str]) -> RecipeError:
    """The findings as problems: first the file's, in its order, then the command line's."""
    lines, places = text.split("\n"), places_of(text)
    in_file: list[tuple[Place, RecipeProblem]] = []
    in_overrides: list[tuple[str, RecipeProblem]] = []
    for finding in findings:
        problem = RecipeProblem(dotted(finding.path), finding.message, hint=finding.hint)
        override = finding.override or _override_of(finding.path, given)
        if override is not None:
            in_overrides.append((override, problem))
            continue
        place = _place_of(finding, places)
        line = _source_line(lines, place.line)
        in_file.append((place, replace(problem, line=place.line, column=place.column, source_line=line)))
    culprits = {override for override, _ in in_overrides}
    if not in_file and len(culprits) == 1:
        return RecipeError(f"--set {culprits.pop()}", tuple(problem for _, problem in in_overrides))
    said = [replace(p, message=f"{p.message} (from --set {override})") for override, p in in_overrides]
    return RecipeError(str(path), (*(problem for _, problem in sorted(in_file, key=lambda pair: pair[0])), *said))


def _place_of(finding: Finding, places: Places) -> Place:
    if finding.on == "key":
        return places.of_key(finding.path)
    return places.of_value(finding.path if finding.on == "value" else finding.path[:-1])


def _override_of(path: TomlPath, given: Mapping[TomlPath, str]) -> str | None:
    return next((given[path[:end]] for end in range(len(path), 0, -1) if path[:end] in given), None)


def _fill(table: Table | tomlkit.TOMLDocument, model: BaseModel, path: str, comments: dict[str, str]) -> None:
    for name, field in type(model).model_fields.items():
        value, key = getattr(model, name), field.alias or name
        inner = f"{path}.{key}" if path else key
        commented = any(re.match(re.escape(inner) + r"(?![^.\[])", other) for other in comments)
        if value is None or (value == field.default and not commented and first_default(field) is None):
            continue
        if key == "name" and value == getattr(model, "factory", None):
            continue
        item: Any
        if isinstance(value, BaseModel):
            item = _table(value, inner, comments)
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            comment = comments.pop(inner, None)
            if comment is not None:
                comments.setdefault(f"{inner}[0]", comment)
            item = AoT([_table(each, f"{inner}[{i}]", comments) for i, each in enumerate(value)])
        else:
            item = _commented(tomlkit.item(value), inner, comments)
        if isinstance(item, Table) and not path:
            table.add(tomlkit.nl())
        table.append(key, item)
    for key, value in (model.model_extra or {}).items():
        table.append(key, _commented(tomlkit.item(value), f"{path}.{key}", comments))


def _table(model: BaseModel, path: str, comments: dict[str, str]) -> Table:
    table: Table = _commented(tomlkit.table(), path, comments)
    _fill(table, model, path, comments)
    return table


def _commented(item: Any, path: str, comments: dict[str, str]) -> Any:
    if path in comments:
        item.comment(" ".join(comments.pop(path).split()))
    return item
