"""Where a command writes its results: standard output, or a file that is looked at before any work."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from lbadvisor.errors import LbadvisorError, UsageError


class _Output:
    """A stream whose failures are this program's errors; a reader that has gone stays a `BrokenPipeError`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _told():
            return self._stream.write(text)

    def flush(self) -> None:
        with _told():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LbadvisorError(f"standard output cannot be written: {error.strerror}") from error


class _Messages:
    """Standard error, on which a message that cannot be written, as on a closed terminal, is lost."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.lost = stream, False

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        self.lost, self.stream = True, Path(os.devnull).open("w")  # noqa: SIM115  # open until the process ends

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def unheard_if_closed() -> Iterator[None]:
    """While entered, a message that standard error cannot take is lost, and the exit code stays what it is."""
    if sys.stderr is None:
        yield
        return
    messages = _Messages(sys.stderr)
    try:
        with contextlib.redirect_stderr(messages):
            yield
    finally:
        if messages.lost:
            # Python flushes standard error when it ends, and would exit with 120.
            sys.stderr = messages.stream


@contextlib.contextmanager
def told_if_full() -> Iterator[None]:
    """While entered, standard output that cannot be written (a full disk) is an `LbadvisorError`."""
    if sys.stdout is None:  # closed by the caller: Python then prints nowhere
        yield
        return
    with contextlib.redirect_stdout(_Output(sys.stdout)):
        try:
            yield
        finally:
            # What is still buffered fails here, and not while Python ends.
            sys.stdout.flush()


def check_out(path: Path, *, force: bool, source: Path | None = None) -> None:
    """Raise `UsageError`, before any work, if a file could not be written or would replace one that it must not.

    That is one that exists, without `force`, and `source` in any case: the file that is read.
    """
    if path.is_dir():
        raise UsageError(f"--out {path} is a folder: name a file in it")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--out {path} cannot be written: the folder {path.parent} does not exist")
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise UsageError(f"--out {path} is the input file, which would be lost: give another name")
    if path.exists() and not force:
        raise UsageError(f"{path} exists: give another --out, or --force to replace it")


def write_out(path: Path, text: str) -> None:
    """Write the file that `check_out` has looked at. Raises `LbadvisorError`."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LbadvisorError(f"{path} cannot be written: {error.strerror}") from error
