"""A trainer's settings by their names, from a command line and a file alike; and how many devices train."""

import math
import re
from argparse import SUPPRESS, ArgumentError, ArgumentParser, BooleanOptionalAction
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lbadvisor.errors import UsageError
from lbadvisor.planning.audit.foreign import Fact
from lbadvisor.planning.audit.setting_text import SettingText
from lbadvisor.recipe.limits import MOST_COUNT


@dataclass(frozen=True, slots=True)
class Settings:
    """A trainer's settings: those given, and its defaults for the others."""

    trainer: str
    given: Mapping[str, Any]
    defaults: Mapping[str, Any]

    def value(self, name: str) -> Any:
        """The setting `name`, given or by default."""
        return self.given.get(name, self.defaults[name])

    def fact(self, what: str, name: str) -> Fact:
        """The number `name`, which is `what`, with its source. Raises `UsageError` if it is none."""
        return fact_of(what, self.value(name), name if name in self.given else f"{name}: {self.trainer}'s default")


def counted(fact: Fact) -> Fact:
    """The fact, if it is a whole number above 0. Raises `UsageError` otherwise."""
    if not (1 <= fact.value <= MOST_COUNT and fact.value == int(fact.value)):
        raise UsageError(f"{fact.value:g} {fact.what} ({fact.source}): give a whole number above 0")
    return fact


def fact_of(what: str, value: Any, source: str) -> Fact:
    """The fact with that value. Raises `UsageError` if it is not a number."""
    try:
        return Fact(what, value if isinstance(value, int) else float(value), source)
    except (TypeError, ValueError):
        raise UsageError(f"{source}: {str(value)[:40]!r} is not a number, as the {what} has to be") from None


def settings_of(
    text: SettingText, trainer: str, defaults: Mapping[str, Any], aliases: Mapping[str, tuple[str, ...]]
) -> Settings:
    """The trainer's settings in the text, by the names of `defaults`. Raises `UsageError` for a wrong value.

    A default is of its setting's type, None for a number that need not be given.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False, argument_default=SUPPRESS)
    for name, default in defaults.items():
        flags = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}", *aliases.get(name, ())))
        if isinstance(default, bool):
            parser.add_argument(*flags, dest=name, action=BooleanOptionalAction)
        elif isinstance(default, tuple):
            parser.add_argument(*flags, dest=name, nargs="+", type=float)
        else:
            parser.add_argument(*flags, dest=name, type=float if default is None else type(default))
    written = {name: value for name, value in text.values.items() if name in defaults and value is not None}
    try:
        of_file, _ = parser.parse_known_args([word for name, value in written.items() for word in _words(name, value)])
        of_words, _ = parser.parse_known_args([*text.words])
    except ArgumentError as error:
        raise UsageError(f"{trainer}: {error}") from error
    return Settings(trainer, vars(of_file) | vars(of_words), defaults)


def _words(name: str, value: Any) -> list[str]:
    """A file's value as the command line would say it."""
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", *map(str, value)] if isinstance(value, list) else [f"--{name}={value}"]


_LAUNCHERS: Mapping[str, Any] = {
    "nproc_per_node": None, "nnodes": None, "num_processes": None, "num_gpus": None, "num_machines": None,
}  # fmt: skip
_LAUNCHED = re.compile(r"(?:^|/)(?:distributed_train|dist_train)\.sh(?: \S+\.py)? (\d+)")


def devices_of(text: SettingText, asked: int | None) -> Fact:
    """The number of devices: the launcher's, or as `asked`; 1, said as an assumption, without either.

    Raises `UsageError` if both are given.
    """
    launched = settings_of(text, "the launcher", _LAUNCHERS, {}).given
    script = _LAUNCHED.search(" ".join(text.words))
    counts = [*launched.values(), *([int(script[1])] if script else [])]
    if counts:
        if asked is not None:
            raise UsageError("--devices has no effect: the command line says how many devices it starts")
        return counted(Fact("devices", math.prod(counts), "the launcher's words"))
    if asked is not None:
        return Fact("devices", asked, "--devices")
    return Fact("devices", 1, ASSUMED)


ASSUMED = "not in the setting: one process, the default"
"""The source of a number of devices that nobody gave."""
