"""Writes a report, completely or not at all, and never over another kind of file."""

from collections.abc import Callable
from pathlib import Path
from typing import IO

from lbadvisor.errors import LbadvisorError, UsageError
from lbadvisor.files import write_atomically

PAGE_MARK = b'<meta name="generator" content="lbadvisor '
PICTURE_MARK = b"Software\0lbadvisor "
"""How a page and a picture name their maker,"""
HEAD_BYTES = 4096
"""within this many bytes."""


def check_target(path: Path, mark: bytes) -> None:
    """Raise `UsageError` if `path` is a folder, or in none, or a file that has no `mark` in its beginning.

    A report is derived from stored runs and made again in seconds, so an older report is written over without asking;
    anything else is somebody's file. Raises `LbadvisorError` if the file cannot be read.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file in it")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path} cannot be written: the folder {path.parent} does not exist")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise LbadvisorError(f"{path} cannot be read: {error.strerror}") from error
    if mark not in head:
        raise UsageError(f"{path} already exists and is not a report of lbadvisor: give another name, or move it away")


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """`write_atomically`. Raises `LbadvisorError` if it cannot be written."""
    try:
        write_atomically(path, write)
    except OSError as error:
        raise LbadvisorError(f"{path} cannot be written: {error.strerror}") from error
