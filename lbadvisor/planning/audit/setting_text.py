"""A foreign setting as it was given: a command line, a configuration file, or a command line that names one.

Nothing is run: of a Python configuration only literals and `dict(...)` are read.
"""

import ast
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from lbadvisor.errors import UsageError, reason_of

_CONFIG_FLAGS = ("-c", "--config", "--config-file", "--config_file")
_SUFFIXES = (".py", ".yaml", ".yml", ".json")
_PROGRAM = re.compile(r"[\w./-]+\.(py|sh)")
_OVERRIDE = re.compile(r"(?:--)?([A-Za-z_]\w*(?:\.\w+)+)(?:=(.*))?")
_BASES = ("_base_", "_BASE_")


@dataclass(frozen=True, slots=True)
class SettingText:
    """The words of a command line, and the values of a configuration file with the command line's overrides."""

    words: tuple[str, ...]
    values: Mapping[str, Any]

    @property
    def names(self) -> frozenset[str]:
        """What it is recognized by: the names of flags, keys and programs, with underscores."""
        flags = {word.lstrip("-").partition("=")[0].replace("-", "_") for word in self.words if word.startswith("-")}
        programs = {Path(word).name for word in self.words if _PROGRAM.fullmatch(word)}
        return frozenset(flags | programs | set(self.values))

    def value(self, path: str, default: Any = None) -> Any:
        """The value at a dotted path such as SOLVER.BASE_LR."""
        found: Any = self.values
        for key in path.split("."):
            found = found.get(key) if isinstance(found, Mapping) else None
        return default if found is None else found


def setting_text(words: Sequence[str]) -> SettingText:
    """The setting that the words are, or the file that they name. Raises `UsageError`."""
    if len(words) == 1 and Path(words[0]).is_file():
        text = _read(Path(words[0]))
        values = _values_of(text, Path(words[0]))
        return SettingText((), values) if values else _command_line(_one_command(text))
    if len(words) == 1 and " " not in words[0]:
        raise UsageError(f"{words[0]}: there is no such file; give a file, or a command line in quotes")
    return _command_line(_one_command(words[0]) if len(words) == 1 else words)


def _one_command(text: str) -> list[str]:
    """The words of the command in shell text that runs a program. Raises `UsageError` if there are several."""
    commands: list[list[str]] = [[]]
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        commands.append([])
        try:
            for word in lexer:
                if set(word) <= set(";&|"):
                    commands.append([])
                else:
                    commands[-1].append(word)
        except ValueError as error:
            raise UsageError(f"{line.strip()[:60]}: {error}") from error
    running = [command for command in commands if any(map(_PROGRAM.fullmatch, command))]
    if len(running) > 1:
        raise UsageError(f"{len(running)} commands in one text: give one of them, in quotes")
    return running[0] if running else [word for command in commands for word in command]


def _command_line(words: Sequence[str]) -> SettingText:
    named = {word for flag, word in pairwise(words) if flag in _CONFIG_FLAGS}
    named |= {word.partition("=")[2] for word in words if word.startswith(tuple(f"{f}=" for f in _CONFIG_FLAGS))}
    program = next((place for place, word in enumerate(words) if _PROGRAM.fullmatch(word)), len(words))
    if words[program + 1 : program + 2] and words[program + 1].endswith(_SUFFIXES):
        named.add(words[program + 1])
    values: dict[str, Any] = {}
    for name in sorted(named):
        values = _merged(values, _values_of(_read(Path(name)), Path(name)))
    for word, following in zip(words, [*words[1:], ""], strict=False):
        match = _OVERRIDE.fullmatch(word)
        if match and (match[2] is not None or word.isupper()):
            values = _merged(
                values, _nested(match[1].split("."), _literal(following if match[2] is None else match[2]))
            )
    return SettingText(tuple(words), values)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {reason_of(error)}") from error


def _values_of(text: str, path: Path, upon: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The values of a configuration in JSON, YAML or Python, and of those it is based on; empty for other text.

    `upon` are the files that are based on this one.
    """
    values = _mapping(text) or _assignments(text)
    for key in _BASES:
        bases = values.pop(key, None) or ()
        for base in [bases] if isinstance(bases, str) else bases if isinstance(bases, list | tuple) else ():
            below = (path.parent / str(base)).resolve()
            if below in (*upon, path.resolve()):
                raise UsageError(f"{path} is based on itself, through {base}")
            values = _merged(_values_of(_read(below), below, (*upon, path.resolve())), values)
    return values


def _mapping(text: str) -> dict[str, Any]:
    import yaml  # only a file needs it

    for parse, fault in ((json.loads, ValueError), (yaml.safe_load, yaml.YAMLError)):
        try:
            parsed = parse(text)
        except (fault, RecursionError):
            continue
        if isinstance(parsed, dict):
            return {str(key): value for key, value in parsed.items()}
    return {}


def _assignments(text: str) -> dict[str, Any]:
    """The values assigned in Python text; `cfg.` before a name is left out."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    values: dict[str, Any] = {}
    for node in body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            path = ast.unparse(node.targets[0]).removeprefix("cfg.").split(".")
            values = _merged(values, _nested(path, _evaluated(node.value)))
    return values


def _evaluated(node: ast.expr) -> Any:
    """The value of a literal or of `dict(...)`; None for what would have to be run."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict":
        return {word.arg: _evaluated(word.value) for word in node.keywords if word.arg is not None}
    if isinstance(node, ast.Dict):
        return {
            ast.unparse(key).strip("'\""): _evaluated(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if key
        }
    if isinstance(node, ast.List | ast.Tuple):
        return [_evaluated(item) for item in node.elts]
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return dict(value)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The values of both; `above` wins, and replaces a whole table that says `_delete_`."""
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        if isinstance(value, Mapping) and isinstance(known, Mapping) and not value.get("_delete_"):
            merged[key] = _merged(known, value)
        else:
            merged[key] = value
    return merged
