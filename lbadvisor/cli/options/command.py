"""Commands as typer reads them: groups of options are expanded, and every value is checked before the command runs.

A parameter whose type is a dataclass is a group: each field is an option, and the function receives the assembled
value. A parameter of type `Words` receives the command line itself.
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
    """A command line: the value of every option and argument, and the options that were given.

    `values` maps the name of an option (`--to`) or argument (`recipe`) to its value; `given` lists the options as
    typed (`--no-curve`), each after its name in `values`. `command` leaves out the program's name (`runs export`);
    `subcommand` is the one called of a group of commands, or None.
    """

    command: str
    values: Mapping[str, Any]
    given: tuple[tuple[str, str], ...]
    subcommand: str | None = None


def command(function: Callable[..., None]) -> Callable[..., None]:
    """`function` with its groups expanded and its values checked before it runs. Raises `UsageError`."""
    parameters = inspect.signature(function).parameters

    @functools.wraps(function)
    def checked(context: typer.Context, **values: Any) -> None:
        from lbadvisor.cli.options.effects import refuse_without_effect

        words = words_of(context)
        check_numbers(words)
        refuse_without_effect(words)
        function(**{name: _gathered(p.annotation, name, values, words) for name, p in parameters.items()})

    spread = [p for parameter in parameters.values() for p in _spread(parameter)]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    signature = inspect.Signature([context, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in spread)])
    checked.__signature__ = signature  # type: ignore[attr-defined]
    checked.__annotations__ = {name: p.annotation for name, p in signature.parameters.items()}
    return checked


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
