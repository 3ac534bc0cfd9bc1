"""Jobs: one work in several processes at once, each in a workspace of its own; their events arrive in one stream.

What makes it one work is the store: each job trains what no other does, and takes over what a dead one left behind.
`at_once` is the engine for one machine. Another engine needs `done`, which is all that a worker does, and `together`.
"""

import contextlib
import logging
import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Self

import torch

from lbadvisor.errors import LbadvisorError, as_ours
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.runs.following import Stop, follow
from lbadvisor.runs.runner import Progress, Started
from lbadvisor.runs.workspace import Workspace
from lbadvisor.training.cores import default_threads, has_given_threads

QUIET_SECONDS = 0.2

_log = logging.getLogger(__name__)

Work = Callable[..., Generator[Any, None, Any]]
"""A function of a module, so that it can be sent: from a workspace and further arguments to events."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A work and its further arguments. `recipe` has the data set that it trains on."""

    recipe: Recipe
    work: Work
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """What one worker does: its share of what is asked, in a workspace of its own, whose sitting knows its number."""

    workspace: Workspace
    asked: Asked

    @property
    def number(self) -> int:
        """From 0."""
        return self.workspace.sitting.job

    def events(self) -> Generator[Any, None, Any]:
        """The job's own events."""
        return self.asked.work(self.workspace, *self.asked.arguments)


@dataclass(frozen=True, slots=True)
class JobBegins:
    """A job begins on another machine, `host`; `again` if it was lost with its process or machine."""

    host: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class JobEnds:
    """A job's last event: the signal that stopped it or the error that ended it, or neither if its work is done."""

    outcome: Stop | LbadvisorError | None


@dataclass(frozen=True, slots=True)
class Silence:
    """No job told anything for a while: so that a stop is noticed."""


@dataclass(frozen=True, slots=True)
class Noted:
    """What a job logged, such as that its database does not answer."""

    text: str


JobEvents = Generator[tuple[int, Any], None, Stop | None]
"""What an engine yields: events, each with the number of its job. Closing it lets every job save and end."""


def at_once(jobs: Sequence[Job]) -> JobEvents:
    """Several jobs in a process each, a single one in this process; returns `together` of how they ended.

    The data set is prepared here first, so that they do not all do it. A worker whose parent has died, or closed this
    iterator, saves its run and ends; a second Ctrl-C ends the workers without saving. Raises what `together` does.
    """
    if len(jobs) == 1:
        with contextlib.closing(jobs[0].events()) as events:
            for event in events:
                yield 0, event
        return None
    machine = replace(jobs[0].workspace.machine, device=torch.device("cpu"))
    for preparing in machine.prepare(in_updates(jobs[0].asked.recipe)):
        yield 0, preparing
    return (yield from _in_processes(jobs))


@dataclass(frozen=True, slots=True)
class Crew:
    """Who does what is asked: a job for each of the devices, of which several may be the same, and their engine.

    `place` says where the devices are, if not here.
    """

    devices: tuple[torch.device, ...]
    engine: Callable[[Sequence[Job]], JobEvents] = at_once
    place: str | None = None

    def needed_for(self, runs: int) -> Self:
        """The same for so many runs at most."""
        return replace(self, devices=self.devices[: max(1, runs)])

    def events(self, workspace: Workspace, asked: Asked) -> JobEvents:
        """What happens while it is done."""

        def of_job(number: int, device: torch.device) -> Workspace:
            machine = replace(workspace.machine, device=device)
            return replace(workspace, machine=machine, sitting=replace(workspace.sitting, job=number, jobs=jobs))

        jobs = len(self.devices)
        return self.engine([Job(of_job(number, device), asked) for number, device in enumerate(self.devices)])

    def text(self, threads: int | None) -> str:
        """The devices, and how they are divided; `threads` is what each run is given."""
        jobs, places = len(self.devices), Counter(map(str, self.devices))
        if self.place is not None:
            return f"{jobs} {'job' if jobs == 1 else 'jobs at once'} on {self.place}"
        if jobs == 1:
            return self.devices[0].type
        where = ", ".join(f"{place} ({number})" for place, number in places.items())
        divides = "cpu" in places and threads is None and not has_given_threads()
        cores = f" with {max(1, default_threads() // jobs)} of {default_threads()} CPU threads each" if divides else ""
        return f"{jobs} jobs at once: {where}{cores}"


def _in_processes(jobs: Sequence[Job]) -> JobEvents:
    # A process that shares nothing: not a fork, which would have this one's memory.
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, tuple[int, SpawnProcess]] = {}
    processes: list[SpawnProcess] = []
    ends: list[JobEnds] = []
    try:
        for job in jobs:
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=_serve, args=(job, writer), name=f"lbadvisor job {job.number + 1}")
            with _ctrl_c_held_back():
                process.start()
            writer.close()
            processes.append(process)
            workers[reader] = job.number, process
        while workers:
            ready = wait(list(workers), QUIET_SECONDS)
            if not ready:
                yield 0, Silence()
            for reader in [reader for reader in workers if reader in ready]:
                number, process = workers[reader]
                event = heard(number, _received(reader, process))
                if isinstance(event, JobEnds):
                    ends.append(event)
                    del workers[reader]
                yield number, event
        return together(ends)
    finally:
        for reader in workers:
            reader.close()  # a worker that has an event to tell finds nobody, saves and ends,
        for process in processes:
            process.terminate()  # and hears of it after its update
        try:
            for process in processes:
                process.join()
        finally:
            for process in processes:
                process.kill()
                process.join()


@contextlib.contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """While entered, a Ctrl-C waits: here until the end, in a process that is started meanwhile until it is ready."""
    # The first process starts this one too, which would let a Ctrl-C through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _received(reader: Connection, process: SpawnProcess) -> Any:
    """The worker's next event: its end, if it died."""
    try:
        return reader.recv()
    except (EOFError, OSError):
        process.join()
        code = process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return JobEnds(LbadvisorError(f"its process {how}"))


def _serve(job: Job, parent: Connection) -> None:
    """What a worker's process does."""
    # Whoever is ready for a Ctrl-C takes it; before and after that, the parent says to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with contextlib.suppress(BrokenPipeError):
        parent.send(done(job, parent.send))


def done(job: Job, tell: Callable[[object], None]) -> JobEnds:
    """Do the job in this process, to its end or until a signal or an exception of `tell` stops it, which saves.

    `tell` receives the events that are worth sending, not every update, and what is logged.
    """
    log, notes = logging.getLogger("lbadvisor"), _Notes(tell)

    def show(event: object) -> None:
        of_run = run_event(event)
        if not isinstance(of_run, Progress) or of_run.has_news:
            tell(event)

    log.addHandler(notes)
    try:
        ended = follow(job.events(), show, begins=begins_a_run)
        return JobEnds(ended if isinstance(ended, Stop) else None)
    except Exception as error:
        return JobEnds(as_ours(error))
    finally:
        log.removeHandler(notes)


class _Notes(logging.Handler):
    """Tells what is logged. If nobody hears it, the next event notices that."""

    def __init__(self, tell: Callable[[object], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):
            self._tell(Noted(record.getMessage()))


def heard(number: int, event: object) -> object:
    """A job's event. What the job logged is logged here, where the display shows it."""
    if not isinstance(event, Noted):
        return event
    _log.warning("job %s: %s", number + 1, event.text)
    return Silence()


def run_event(event: object) -> object:
    """The event of a run that `event` is, or carries."""
    return getattr(event, "event", event)


def begins_a_run(event: object) -> bool:
    """Whether the event is the first of a run."""
    return isinstance(run_event(event), Started)


def together(ends: Sequence[JobEnds]) -> Stop | None:
    """What came of the jobs: None if one of them found its work done, else the signal that stopped one.

    Raises `LbadvisorError` if all failed, with what each said.
    """
    outcomes = [end.outcome for end in ends]
    if None in outcomes:
        return None
    for outcome in outcomes:
        if isinstance(outcome, Stop):
            return outcome
    errors = {str(error): error for error in outcomes if isinstance(error, LbadvisorError)}
    if len(errors) == 1:
        raise next(iter(errors.values()))
    raise LbadvisorError("\n".join(["every job failed:", *errors]))
