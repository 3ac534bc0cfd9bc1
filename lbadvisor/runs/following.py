"""The one loop of every long command: its events are shown until they end, or until a signal stops it."""

import signal
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from lbadvisor.runs.signals import handled_by, noted_signals

Followed = TypeVar("Followed")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Stop:
    """A signal stopped the work: the first by its name, None for a second Ctrl-C, which does not wait for a save."""

    signal_name: str | None


def follow(
    events: Generator[Followed, None, Result], show: Callable[[Followed], None], *, begins: Callable[[Followed], bool]
) -> Result | Stop:
    """Show each event; returns what the events return, or how they were stopped.

    The first signal closes the iterator between two events, which saves; not behind one that `begins` a run, which
    makes an update before it stops. However it ends, a terminal that is closed among the ways, the iterator is closed.
    """
    with noted_signals() as names:
        try:
            with closing(events):
                while True:
                    event = next(events)
                    show(event)
                    if names and not begins(event):
                        return Stop(names[0])
        except StopIteration as end:
            result: Result = end.value
            return result
        except KeyboardInterrupt:
            # Between two updates closing still saves the run; within one, or that save, the last checkpoint holds.
            return Stop(None)


def follow_unsaved(events: Generator[Followed, None, Result], show: Callable[[Followed], None]) -> Result:
    """The same for work that keeps nothing: a signal is a KeyboardInterrupt at once, and what was begun is cleared."""
    with handled_by(signal.default_int_handler), closing(events):
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                result: Result = end.value
                return result
            show(event)
