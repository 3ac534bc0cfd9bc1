"""Signals that ask a long command to stop."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED_BY_SIGNAL = 75
"""Exit code of a command that was stopped and saved: EX_TEMPFAIL of sysexits.h; the same command resumes it."""

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
ASKED_TO_STOP = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
"""SIGHUP comes when the terminal is closed."""


@contextmanager
def noted_signals() -> Iterator[list[str]]:
    """While entered, the name of the first signal is noted in the list; a Ctrl-C that follows it interrupts at once.

    Other signals that follow do not: schedulers send a warning first and SIGTERM later, within the save.
    """
    names: list[str] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if not names:
            names.append(signal.Signals(number).name)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    with handled_by(note):
        yield names


@contextmanager
def handled_by(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """While entered, `handler` receives the signals; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # Under `nohup` SIGHUP is ignored, and stays so.
    taken = [n for n in ASKED_TO_STOP if n.name != "SIGHUP" or signal.getsignal(n) is not signal.SIG_IGN]
    earlier = {number: signal.signal(number, handler) for number in taken}
    try:
        yield
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)
