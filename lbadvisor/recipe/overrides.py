"""Applies the command line's `--set table.key=value` to the values of a recipe file."""

import re
import tomllib
from collections.abc import Sequence
from typing import Any

from lbadvisor.recipe.problems import Finding
from lbadvisor.recipe.toml_places import TomlPath

_PATH = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+|\[[0-9]{1,6}\])*")


def with_overrides(values: dict[str, Any], texts: Sequence[str]) -> tuple[dict[TomlPath, str], tuple[Finding, ...]]:
    """Apply the overrides to `values` in order; returns the paths they set, and what is wrong with them."""
    given: dict[TomlPath, str] = {}
    findings: list[Finding] = []
    for override in texts:
        name, equals, literal = override.partition("=")
        name = name.strip()
        try:
            if not equals or not _PATH.fullmatch(name):
                raise ValueError("is not of the form table.key=value")
            parts = re.findall(r"[A-Za-z0-9_-]+", name)
            given[_put(values, parts, value_of_text(literal.strip()), given, override)] = override
        except ValueError as error:
            findings.append(Finding((name,) if equals and name else (), str(error), override=override))
    return given, tuple(findings)


def value_of_text(literal: str) -> Any:
    """The value of a TOML literal; any other text is a string, unless it begins like a string or a collection."""
    if not literal:
        raise ValueError('has no value: an empty string is ""')
    try:
        parsed = tomllib.loads(f"value = {literal}")
    except (ValueError, RecursionError):
        parsed = {}
    if len(parsed) == 1:
        return parsed["value"]
    if literal[0] in "\"'[{":
        raise ValueError(f"is not a TOML value: {literal}")
    return literal


def _put(values: dict[str, Any], parts: list[str], value: Any, given: dict[TomlPath, str], override: str) -> TomlPath:
    path: TomlPath = ()
    table: Any = values
    for part in parts[:-1]:
        key = _key(table, part, path)
        path = (*path, key)
        if isinstance(table, dict) and key not in table:
            table[key] = {}
            given[path] = override
        table = table[key]
    key = _key(table, parts[-1], path)
    table[key] = value
    if isinstance(table, dict) and isinstance(key, str):
        # The same length in the other unit: `epochs` and `updates`, `every_epochs` and `every_updates`.
        for unit, other in (("epoch", "update"), ("update", "epoch")):
            if re.search(rf"{unit}s?$", key):
                table.pop(re.sub(rf"{unit}(s?)$", rf"{other}\1", key), None)
    return (*path, key)


def _key(table: Any, part: str, path: TomlPath) -> str | int:
    if isinstance(table, dict):
        return part
    if not isinstance(table, list):
        raise ValueError(f"{path[-1]} is not a table")
    if not part.isdigit() or int(part) >= len(table):
        raise ValueError(f"{path[-1]} has {len(table)} elements, counted from [0]: there is no {part}")
    return int(part)
