"""Where the command line writes: data to stdout, all else to stderr."""

import json
from typing import Any

from rich.console import Console


def stdout() -> Console:
    """A console for data: never cut to the width of a terminal that is not there."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=max(console.width, 120))


def stderr() -> Console:
    """A console for progress and messages."""
    return Console(stderr=True, highlight=False)


def print_json(body: dict[str, Any]) -> None:
    """Write one JSON object to stdout, as plain text whatever the terminal is."""
    print(json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False))  # noqa: T201
