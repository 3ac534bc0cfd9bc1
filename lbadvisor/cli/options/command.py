"""A command's function as typer reads it: groups of options spread out, and every word checked before it runs.

A parameter whose type is a dataclass is a group: each of its fields is an option, and the function gets the value made
of them. A parameter of type `Words` gets the command line itself.
"""

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
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


def command(function: Callable[..., None]) -> Callable[..., None]:
    """`function` with its groups spread out; before it runs, the words are checked. Raises `UsageError`."""
    parameters = inspect.signature(function).parameters

    @functools.wraps(function)
    def checked(context: typer.Context, **values: Any) -> None:
        from lbadvisor.cli.options.effects import refuse_without_effect

        words = words_of(context)
        check_numbers(words)
        refuse_without_effect(words, words)
        function(**{name: _gathered(p.annotation, name, values, words) for name, p in parameters.items()})

    spread = [p for parameter in parameters.values() for p in _spread(parameter)]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    signature = inspect.Signature([context, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in spread)])
    checked.__signature__ = signature  # type: ignore[attr-defined]
    checked.__annotations__ = {name: p.annotation for name, p in signature.parameters.items()}
    return checked


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


def _spread(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    kind = parameter.annotation
    if kind is Words:
        return
    if not is_dataclass(kind):
        yield parameter
        return
    for field in fields(kind):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        yield from _spread(parameter.replace(name=field.name, annotation=field.type, default=default))


def _gathered(kind: Any, name: str, values: Mapping[str, Any], words: Words) -> Any:
    if kind is Words:
        return words
    if not is_dataclass(kind):
        return values[name]
    return kind(**{field.name: _gathered(field.type, field.name, values, words) for field in fields(kind)})  # type: ignore[operator]
