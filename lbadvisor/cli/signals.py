"""Signals that ask a long command to stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

STOPPED_BY_SIGNAL = 75
"""Exit code of a command that was stopped and saved: EX_TEMPFAIL of sysexits.h, "the same command goes on"."""

ASKED_TO_STOP = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Stopper:
    """While entered: the first signal is noted in `signal_name`; a Ctrl-C that follows it interrupts at once.

    Other signals that follow do not: schedulers send a warning first and SIGTERM later, within the save.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None

    def __enter__(self) -> Self:
        self._earlier = {number: signal.signal(number, self._note) for number in ASKED_TO_STOP}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal_name is None:
            self.signal_name = signal.Signals(number).name
        elif number == signal.SIGINT:
            raise KeyboardInterrupt


@contextmanager
def interrupted_by_all() -> Iterator[None]:
    """While entered each of the signals is a KeyboardInterrupt: what was begun is cleared away."""
    earlier = {number: signal.signal(number, signal.default_int_handler) for number in ASKED_TO_STOP}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
