"""Signals that ask a long command to stop."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

STOPPED_BY_SIGNAL = 75
"""Exit code of a command that was stopped and saved: EX_TEMPFAIL of sysexits.h; the same command resumes it."""

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
ASKED_TO_STOP = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
"""SIGHUP comes when the terminal is closed."""


class Stopper:
    """While entered: the first signal is noted in `signal_name`; a Ctrl-C that follows it interrupts at once.

    Other signals that follow do not: schedulers send a warning first and SIGTERM later, within the save.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None

    def __enter__(self) -> Self:
        self._restore = _handled_by(self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._restore()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal_name is None:
            self.signal_name = signal.Signals(number).name
        elif number == signal.SIGINT:
            raise KeyboardInterrupt


@contextmanager
def interrupted_by_all() -> Iterator[None]:
    """While entered each of the signals is a KeyboardInterrupt: what was begun is cleared away."""
    restore = _handled_by(signal.default_int_handler)
    try:
        yield
    finally:
        restore()


def _handled_by(handler: Callable[[int, FrameType | None], object]) -> Callable[[], None]:
    """Let `handler` receive the signals; returns a function that undoes this."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None  # only the main thread receives signals
    # Under `nohup` SIGHUP is ignored, and stays so.
    taken = [n for n in ASKED_TO_STOP if n.name != "SIGHUP" or signal.getsignal(n) is not signal.SIG_IGN]
    earlier = {number: signal.signal(number, handler) for number in taken}

    def restore() -> None:
        for number, before in earlier.items():
            signal.signal(number, before)

    return restore
