"""Commands as typer reads them: groups of options are expanded, and every value is checked before the command runs.

A parameter whose type is a dataclass is a group: each field is an option, and the function receives the assembled
value. A parameter of type `Words` receives the command line itself.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import typer

from lbadvisor.cli.options.command_line import Words, check_numbers, recipe_file, words_of
from lbadvisor.cli.options.effects import refuse_without_effect
from lbadvisor.errors import RecipeError


def command(function: Callable[..., None]) -> Callable[..., None]:
    """`function` with its groups expanded and its values checked before it runs. Raises `UsageError`."""
    parameters = inspect.signature(function).parameters

    @functools.wraps(function)
    def checked(context: typer.Context, **values: Any) -> None:
        words = words_of(context)
        check_numbers(words)
        refuse_without_effect(words, words)
        with _in_its_file(words):
            function(**{name: _gathered(p.annotation, name, values, words) for name, p in parameters.items()})

    spread = [p for parameter in parameters.values() for p in _spread(parameter)]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    signature = inspect.Signature([context, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in spread)])
    checked.__signature__ = signature  # type: ignore[attr-defined]
    checked.__doc__ = _in_paragraphs(inspect.getdoc(function) or "")
    checked.__annotations__ = {name: p.annotation for name, p in signature.parameters.items()}
    return checked


@contextmanager
def _in_its_file(words: Words) -> Iterator[None]:
    """While entered, an error in the recipe that only its training finds gets its place in the file."""
    try:
        yield
    except RecipeError as error:
        file = recipe_file(words)
        # What reading the file found has its place already, and such a file may not even be TOML.
        if file is None or error.origin == str(file) or error.origin.startswith("--set"):
            raise
        from lbadvisor.recipe.file import located

        raise located(error, file) from error


def _in_paragraphs(text: str) -> str:
    """The text with one line per paragraph: typer would keep the ends of the source's lines, however wide the help."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


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
