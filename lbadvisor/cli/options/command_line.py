"""The command line as it was typed, and the numbers on it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer

from lbadvisor.errors import UsageError


@dataclass(frozen=True, slots=True)
class Words:
    """A command line: the value of every option and argument, and the options that stand on it.

    `values` are by the option's name (`--to`), or the argument's (`recipe`); `given` are the options as they were
    written (`--no-curve`), each with the name that it has in `values`. `command` is without the program's name
    (`runs export`); `subcommand` is what follows a group of commands, None if nothing does.
    """

    command: str
    values: Mapping[str, Any]
    given: tuple[tuple[str, str], ...]
    subcommand: str | None = None


def words_of(context: typer.Context) -> Words:
    """The command line that typer parsed into `context`."""
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


MOST = 2**63 - 1
"""The largest whole number that the database keeps."""


def check_numbers(words: Words) -> None:
    """Raise `UsageError` for a number that is not finite, or larger than any that the program can keep."""
    for name, value in words.values.items():
        for number in value if isinstance(value, list | tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise UsageError(f"{name} {number}: give a finite number")
            if isinstance(number, int) and abs(number) > MOST:
                text = str(number)
                shown = text if len(text) <= 30 else f"{text[:10]}... ({len(text)} digits)"
                raise UsageError(f"{name} {shown}: give a number below 2^63")
