"""A database whose server does not answer for a while: said once, and waited for.

Each method of the store is one short transaction, so one that did not come through is repeated whole.
"""

import functools
import inspect
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from lbadvisor.errors import NoAnswerError, UsageError

WAIT_SECONDS = 3600.0
"""How long a change waits for the server, unless the environment's `LBADVISOR_DB_WAIT` says otherwise."""

RETRY_SECONDS = 1.0

Repeating = TypeVar("Repeating", bound=type)

_log = logging.getLogger(__name__)


class Outage:
    """Whether the server answered last, as the log is told whenever that changes."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._is_given_up = self._is_put_off = False

    def begins(self, error: NoAnswerError) -> None:
        """The server did not answer."""
        if self._since is None:
            self._since = time.monotonic()
            _log.warning("%s; trying again, nothing is lost", error)

    def ends(self) -> None:
        """The server answered."""
        if self._since is not None:
            _log.warning("the database answers again, after %.1f s", time.monotonic() - self._since)
        self._since, self._is_given_up = None, False

    def waited(self, error: NoAnswerError, deadline: float) -> None:
        """Wait a moment. Raises `NoAnswerError` if it is too late, or was before: then nothing waits any more."""
        self.begins(error)
        if self._is_put_off:
            raise error
        if self._is_given_up or time.monotonic() >= deadline:
            self.give_up()
            raise NoAnswerError(f"{error}; repeat the command once it answers: a run resumes from its last checkpoint")
        time.sleep(RETRY_SECONDS)

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """While entered, nothing waits: `NoAnswerError` is raised at once, and the caller tries again later."""
        self._is_put_off = True
        try:
            yield
        finally:
            self._is_put_off = False

    def give_up(self) -> None:
        """Wait no more, until the server answers."""
        self._is_given_up = self._since is not None


def repeating(store: Repeating) -> Repeating:
    """The class, each of whose public methods is repeated until the server answers; `outage` is that of an object."""
    for name, method in inspect.getmembers(store, inspect.isfunction):
        # What a `with` block enters cannot be repeated.
        if not name.startswith("_") and not inspect.isgeneratorfunction(inspect.unwrap(method)):
            setattr(store, name, _repeated(method))
    return store


def _repeated(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def until_answered(store: Any, *given: Any, **named: Any) -> Any:
        outage: Outage = store.outage
        deadline = None
        try:
            while True:
                try:
                    return method(store, *given, **named)
                except NoAnswerError as error:
                    deadline = deadline or time.monotonic() + wait_seconds()
                    outage.waited(error, deadline)
        except KeyboardInterrupt:
            outage.give_up()
            raise

    return until_answered


def wait_seconds() -> float:
    """How long to wait for a server. Raises `UsageError` if the environment gives no such number."""
    given = os.environ.get("LBADVISOR_DB_WAIT")
    try:
        seconds = WAIT_SECONDS if given is None else float(given)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise UsageError(f"LBADVISOR_DB_WAIT is {given!r}: give the seconds to wait for the database, such as 600")
    return seconds
