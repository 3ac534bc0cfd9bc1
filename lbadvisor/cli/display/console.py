"""Where the command line writes: data to stdout, all else to stderr."""

import json
import re
import sys
from typing import IO, Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

ENDLESS = 1_000_000
"""Columns of what is no terminal: nothing is wrapped or cut for the width of a screen that is not there."""
CHART_WIDTH = 120
"""Columns that a chart of characters takes, if there are as many."""


def stdout() -> Console:
    """A console for data."""
    return _console(sys.stdout)


def stderr() -> Console:
    """A console for progress and messages."""
    return _console(sys.stderr)


def _console(file: IO[str]) -> Console:
    # FORCE_COLOR makes rich believe in a terminal; a pipe has no width all the same.
    return Console(file=file, highlight=False, width=None if file.isatty() else ENDLESS)


def say(console: Console, text: str | Text) -> None:
    """Print prose, `text` as markup: lines end between words only, so that a path longer than the line stays whole."""
    prose = Text.from_markup(text) if isinstance(text, str) else text
    ends, begin = [], 0
    for word in re.finditer(r"\S+", prose.plain):
        if "\n" in prose.plain[begin : word.start()]:
            begin = prose.plain.rindex("\n", begin, word.start()) + 1
        if word.start() > begin and cell_len(prose.plain[begin : word.end()]) > console.width:
            begin = word.start()
            ends.append(begin)
    for line in prose.divide(ends):
        line.rstrip()
        console.print(line, soft_wrap=True)


def print_json(body: dict[str, Any]) -> None:
    """Write one JSON object to stdout, as plain text whatever the terminal is."""
    print(json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False))  # noqa: T201
