"""The command line as it was typed, and the numbers on it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from lbadvisor.errors import UsageError


@dataclass(frozen=True, slots=True)
class Words:
    """A command line: the value of every option and argument, and the options that were given.

    `values` maps the name of an option (`--to`) or argument (`recipe`) to its value; `given` lists the options as
    typed (`--no-curve`), each after its name in `values`. `command` leaves out the program's name (`runs export`);
    `subcommand` is the one called of a group of commands, or None.
    """

    command: str
    values: Mapping[str, Any]
    given: tuple[tuple[str, str], ...]
    subcommand: str | None = None


def words_of(context: typer.Context) -> Words:
    """The command line that typer parsed, from its `context`."""
    values, given = {}, []
    for parameter in context.command.params:
        name, value = parameter.opts[0], context.params.get(parameter.name or "")
        values[name] = value
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE" and name.startswith("-"):
            given.append((name, parameter.secondary_opts[0] if parameter.secondary_opts and value is False else name))
    names = []
    level: Any = context
    while level.parent is not None:
        names.append(level.info_name)
        level = level.parent
    return Words(" ".join(reversed(names)), values, tuple(given), context.invoked_subcommand)


def names_recipe(words: Words) -> bool:
    """Whether the argument `source` of a command for runs or a recipe is a recipe's file."""
    source = words.values["source"]
    return len(source) == 1 and (source[0].endswith(".toml") or Path(source[0]).is_file())


def recipe_file(words: Words) -> Path | None:
    """The recipe's file that the command line names, if it names one."""
    if words.values.get("recipe") is not None:
        return Path(words.values["recipe"])
    return Path(words.values["source"][0]) if "source" in words.values and names_recipe(words) else None


MOST = 2**63 - 1
"""The largest whole number that the database can store."""


def check_numbers(words: Words) -> None:
    """Raise `UsageError` for a number that is not finite or too large to store."""
    for name, value in words.values.items():
        for number in value if isinstance(value, list | tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise UsageError(f"{name} {number}: give a finite number")
            if isinstance(number, int) and abs(number) > MOST:
                text = str(number)
                shown = text if len(text) <= 30 else f"{text[:10]}... ({len(text)} digits)"
                raise UsageError(f"{name} {shown}: give a number below 2^63")
