"""The place of each key and value in a TOML text. The only module that uses `toml_rs`, so that it can be replaced."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import toml_rs

TomlPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line and a column, both counted from 1, the column in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Places:
    """The places of a text's keys and values by their paths; a table's place is its header's."""

    keys: Mapping[TomlPath, Place]
    values: Mapping[TomlPath, Place]

    def of_key(self, path: TomlPath) -> Place:
        """The place of the key at `path`, or of its table if it is absent."""
        return _nearest(self.keys, path)

    def of_value(self, path: TomlPath) -> Place:
        """The start of the value at `path`, or of its table if it is absent, or of the text for the empty path."""
        return _nearest(self.values, path)


def places_of(text: str) -> Places:
    """The places in valid TOML without a byte order mark, nested at most a few hundred levels deep."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    keys: dict[TomlPath, Place] = {}
    values: dict[TomlPath, Place] = {}
    continued: set[int] = set()
    for path, node in _nodes(toml_rs.load_with_metadata(text).meta["nodes"], ()):
        if "key_line" in node:
            keys[path] = _place(lines, node["key_line"], node["key_col"])
        if "value_line" in node:
            values[path] = _place(lines, node["value_line"], node["value_col"])
            first, last = _ends(node["value_line"])
            continued.update(range(first + 1, last + 1))
    for path, place in _headers(lines, continued):
        keys.setdefault(path, place)
        values.setdefault(path, place)
    return Places(keys, values)


def _nodes(table: Mapping[str, Any], path: TomlPath) -> Iterator[tuple[TomlPath, Mapping[str, Any]]]:
    for key, node in table.items():
        # A table without its own node is a plain mapping, in which "key_line" could only be a key's mapping.
        if isinstance(node.get("key_line"), int):
            yield from _values(node, (*path, key))
        else:
            yield from _nodes(node, (*path, key))


def _values(node: Mapping[str, Any], path: TomlPath) -> Iterator[tuple[TomlPath, Mapping[str, Any]]]:
    yield path, node
    value = node["value"]
    if isinstance(value, dict):
        yield from _nodes(value, path)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _values(item, (*path, i))


def _headers(lines: list[str], continued: set[int]) -> Iterator[tuple[TomlPath, Place]]:
    """The tables' headers: lines that begin with a bracket and do not continue a value from the line before."""
    elements: dict[TomlPath, int] = {}
    for number, line in enumerate(lines, start=1):
        bare = line.lstrip(" \t")
        if not bare.startswith("[") or number in continued:
            continue
        path: TomlPath = ()
        inner: Any = tomllib.loads(line)
        while inner:
            key, inner = next(iter(inner.items()))
            path = (*path, key)
            if isinstance(inner, list):
                elements[path] = elements.get(path, -1) + 1
                inner = inner[0]
            if path in elements:
                path = (*path, elements[path])
        yield path, Place(number, len(line) - len(bare) + 1)


def _ends(span: int | tuple[int, int]) -> tuple[int, int]:
    return (span, span) if isinstance(span, int) else span


def _place(lines: list[str], line: int | tuple[int, int], column: int | tuple[int, int]) -> Place:
    number, byte_column = _ends(line)[0], _ends(column)[0]
    # toml_rs counts the column in bytes of UTF-8.
    return Place(number, len(lines[number - 1].encode()[: byte_column - 1].decode()) + 1)


def _nearest(places: Mapping[TomlPath, Place], path: TomlPath) -> Place:
    while path:
        if path in places:
            return places[path]
        beneath = [place for other, place in places.items() if other[: len(path)] == path]
        if beneath:
            return min(beneath)
        path = path[:-1]
    return Place(1, 1)
