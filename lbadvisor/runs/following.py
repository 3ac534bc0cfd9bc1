"""The one loop of every long command: its events are shown until they end, or until a signal stops it."""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from lbadvisor.runs.signals import Stopper, interrupted_by_all

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
    with Stopper() as stopper, closing(events):

        def stop(event: Followed) -> Stop | None:
            return None if stopper.signal_name is None or begins(event) else Stop(stopper.signal_name)

        try:
            return _through(events, show, stop)
        except KeyboardInterrupt:
            # Between two updates closing still saves the run; within one, the last checkpoint holds.
            events.close()
            return Stop(None)


def follow_unsaved(events: Generator[Followed, None, Result], show: Callable[[Followed], None]) -> Result:
    """The same for work that keeps nothing: a signal is a KeyboardInterrupt at once, and what was begun is cleared."""
    with interrupted_by_all(), closing(events):
        ended = _through(events, show, lambda _: None)
        assert not isinstance(ended, Stop)
        return ended


def _through(
    events: Generator[Followed, None, Result], show: Callable[[Followed], None], stop: Callable[[Followed], Stop | None]
) -> Result | Stop:
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            result: Result = end.value
            return result
        show(event)
        stopped = stop(event)
        if stopped is not None:
            events.close()
            return stopped
