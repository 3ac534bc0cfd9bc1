"""How far long work is: bars on a terminal, plain lines elsewhere, nothing if the command is quiet."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from lbadvisor.cli.display.console import say
from lbadvisor.cli.display.measured import accuracy_text, facts_of
from lbadvisor.diagnostics.advance import Advance

if TYPE_CHECKING:
    from lbadvisor.records.run import Measurement
    from lbadvisor.runs.runner import Progress as UpdateMade
    from lbadvisor.training.data.dataset import Preparing

NEWS_SECONDS = 5.0
"""Without a terminal a task has at most one line in this time, not counting its first and its last,"""
SILENCE_SECONDS = 60.0
"""and at least one in this, if there is no news of it."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where a task stands: `done` of `total` (None: not known), in words in `count`, and what else there is to tell.

    `is_news` if `facts` are worth a line soon.
    """

    task: str
    done: int
    total: int | None
    count: str
    facts: str = ""
    is_news: bool = False

    @property
    def is_last(self) -> bool:
        """Whether nothing follows it, as far as is known."""
        return self.total is None or self.done >= self.total


class ShowsSteps(Protocol):
    """What steps are shown on."""

    def begin(self, step: Step) -> None:
        """A task begins, or goes on, where the step is: its time counts from now."""

    def show(self, step: Step) -> None:
        """A task has come so far."""

    def drop(self, task: str) -> None:
        """A task is over."""


@contextmanager
def progress(console: Console, *, quiet: bool) -> Iterator[ShowsSteps]:
    """What suits the console. While it is shown, what the program logs is a note beside it."""
    log, notes = logging.getLogger("lbadvisor"), _Notes(Console(quiet=True) if quiet else console)
    log.addHandler(notes)
    try:
        if quiet:
            yield _Lines(Console(quiet=True))
        elif console.is_terminal:
            bars = _Bars(console)
            with bars.rich:
                yield bars
        else:
            yield _Lines(console)
    finally:
        log.removeHandler(notes)


class _Notes(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        say(self._console, f"[yellow]note[/yellow] {escape(record.getMessage())}")


@dataclass(slots=True)
class _Seen:
    """A task's first step and when that was; its last step, and when it had a line."""

    first: Step
    began: float
    step: Step
    told: float = float("-inf")

    def per_second(self, now: float) -> float:
        return (self.step.done - self.first.done) / max(now - self.began, 1e-9)


class _Bars:
    def __init__(self, console: Console) -> None:
        self.rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[rate]}"),
            _TimeLeft(),
            TextColumn("{task.fields[facts]}"),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, tuple[TaskID, _Seen]] = {}

    def begin(self, step: Step) -> None:
        self.drop(step.task)
        self.show(step)

    def show(self, step: Step) -> None:
        now = time.monotonic()
        # A task that is done, or whose end nobody knows, as reading a file, is over once another one is shown.
        for over in [name for name, (_, seen) in self._tasks.items() if name != step.task and seen.step.is_last]:
            self.drop(over)
        if step.task not in self._tasks:
            task = self.rich.add_task(escape(step.task), completed=step.done, total=None, count="", rate="", facts="")
            self._tasks[step.task] = task, _Seen(step, now, step)
        task, seen = self._tasks[step.task]
        seen.step = step
        speed = seen.per_second(now)
        rate = (f"{speed:,.0f}/s" if speed >= 1000 else f"{speed:.3g}/s") if speed else ""
        facts = escape(step.facts)
        self.rich.update(task, completed=step.done, total=step.total, count=step.count, rate=rate, facts=facts)

    def drop(self, task: str) -> None:
        if task in self._tasks:
            self.rich.remove_task(self._tasks.pop(task)[0])


class _TimeLeft(TimeRemainingColumn):
    """The time that is left, and that it is that; nothing as long as it is not known."""

    def render(self, task: Task) -> Text:
        """Such as 0:01:20 left."""
        return Text("") if task.time_remaining is None else super().render(task).append(" left")


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, _Seen] = {}

    def begin(self, step: Step) -> None:
        self._tasks[step.task] = _Seen(step, time.monotonic(), step)

    def show(self, step: Step) -> None:
        now = time.monotonic()
        seen = self._tasks.setdefault(step.task, _Seen(step, now, step))
        seen.step = step
        if step.done == step.total or now - seen.told >= (NEWS_SECONDS if step.is_news else SILENCE_SECONDS):
            seen.told = now
            said = [word for word in (step.count, step.facts) if word] + _times(seen, now)
            lead = [f"{step.task}:" if said else step.task] if step.task else []
            say(self._console, escape(" ".join(lead + said)))

    def drop(self, task: str) -> None:
        self._tasks.pop(task, None)


def _times(seen: _Seen, now: float) -> list[str]:
    """The seconds so far, and those that are left."""
    step, speed = seen.step, seen.per_second(now)
    if not speed or step.total is None:
        return []
    left = (step.total - step.done) / speed
    return [f"{now - seen.began:.1f} s" + (f", about {left:.0f} s left" if left else "")]


def prepared(event: "Preparing") -> Step:
    """How far a data set's preparation is."""
    count = "" if event.total is None else f"{event.done} of {event.total} images"
    return Step(event.task, event.done, event.total, count, is_news=True)


def step_of(event: "Preparing | Advance") -> Step:
    """How far a diagnostic, or the preparation of its data set, is."""
    if not isinstance(event, Advance):
        return prepared(event)
    return Step(event.task, event.done, event.total, f"{event.done:,} of {event.total:,} {event.units}", event.now)


class RunSteps:
    """The steps of a run's updates: each tells what was measured last."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._measured: Measurement | None = None
        self._loss: float | None = None
        self._accuracy = ""

    def at(self, update: int, updates: int) -> Step:
        """Where the run stands before anything is measured."""
        return Step(self._task, update, updates, f"update {update}/{updates}")

    def of(self, event: "UpdateMade") -> Step:
        """The step of one update."""
        measured = event.measurement
        accuracy = accuracy_text(measured)
        self._accuracy = accuracy or self._accuracy
        if measured is not None:
            self._measured, self._loss = measured, None
        elif event.loss is not None:
            self._loss = event.loss
        facts = facts_of(self._measured, self._loss) + self._accuracy
        count = f"update {event.update}/{event.updates}"
        return Step(self._task, event.update, event.updates, count, facts, is_news=bool(accuracy))
