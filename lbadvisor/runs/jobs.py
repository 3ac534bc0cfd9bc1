"""Jobs: one work in several processes at once, each in a workspace of its own; their events arrive in one stream.

What makes it one work is the store: each job trains what no other does, and takes over what a dead one left behind.
`in_turn` and `at_once` are engines for one machine. Another engine needs `done`, which is all that a worker does, and
`together`.
"""

import contextlib
import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from lbadvisor.errors import LbadvisorError
from lbadvisor.runs.following import Stop, follow
from lbadvisor.runs.runner import Progress, Started
from lbadvisor.runs.workspace import Workspace
from lbadvisor.training.cores import default_threads, has_given_threads

QUIET_SECONDS = 0.2

Work = Callable[..., Generator[Any, None, Any]]
"""A function of a module, so that it can be sent: from a workspace and what is asked for to events."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one worker does: the events of `work(workspace, *asked)`. `workspace.sitting` knows its number."""

    workspace: Workspace
    work: Work
    asked: tuple[Any, ...]

    def events(self) -> Generator[Any, None, Any]:
        """The job's own events."""
        return self.work(self.workspace, *self.asked)


@dataclass(frozen=True, slots=True)
class JobEnds:
    """A job's last event: the signal that stopped it or the error that ended it, or neither if its work is done."""

    outcome: Stop | LbadvisorError | None


@dataclass(frozen=True, slots=True)
class Quiet:
    """No job told anything for a while: so that a stop is noticed."""


JobEvents = Generator[tuple[int, Any], None, Stop | None]
"""What an engine yields: events, each with the number of its job. Closing it lets every job save and end."""


def divided(workspace: Workspace, devices: Sequence[torch.device], work: Work, *asked: Any) -> tuple[Job, ...]:
    """A job for each of the devices, of which several may be the same."""
    machine, sitting = workspace.machine, replace(workspace.sitting, jobs=len(devices))
    return tuple(
        Job(Workspace(workspace.store, replace(machine, device=device), replace(sitting, job=number)), work, asked)
        for number, device in enumerate(devices)
    )


def division_text(devices: Sequence[torch.device], threads: int | None) -> str:
    """How the jobs are divided; `threads` is what each run is given."""
    places = ", ".join(f"{number} on {device}" for device, number in Counter(map(str, devices)).items())
    on_cpu = any(device.type == "cpu" for device in devices)
    if not on_cpu or threads is not None or has_given_threads():
        return f"{len(devices)} jobs at once: {places}"
    share, cores = max(1, default_threads() // len(devices)), default_threads()
    return f"{len(devices)} jobs at once: {places}, each with {share} of {cores} CPU threads at most"


def in_turn(jobs: Sequence[Job]) -> JobEvents:
    """The only job, in this process. Raises what its work raises."""
    (job,) = jobs
    with closing(job.events()) as events:
        for event in events:
            yield job.workspace.sitting.job, event
    return None


def at_once(jobs: Sequence[Job]) -> JobEvents:
    """Each job in a process of its own; ends when all have ended, and gives back `together` of how.

    A worker whose parent has died, or closed this iterator, saves its run and ends. A second Ctrl-C meanwhile ends
    the workers at once.
    """
    # A process that shares nothing: not a fork, which would have this one's memory.
    context = multiprocessing.get_context("spawn")
    open_: dict[Connection, tuple[int, SpawnProcess]] = {}
    processes, ends = [], []
    try:
        for job in jobs:
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=_serve, args=(job, writer), name=f"lbadvisor job {len(open_) + 1}")
            with _ctrl_c_held_back():
                process.start()
            writer.close()
            processes.append(process)
            open_[reader] = job.workspace.sitting.job, process
        while open_:
            ready = wait(list(open_), QUIET_SECONDS)
            if not ready:
                yield 0, Quiet()
            for reader in ready:
                number, process = open_[reader]  # type: ignore[index]
                event = _received(reader, process)  # type: ignore[arg-type]
                if isinstance(event, JobEnds):
                    ends.append(event)
                    del open_[reader]  # type: ignore[arg-type]
                yield number, event
        return together(ends)
    finally:
        for reader in open_:
            reader.close()  # a worker that tells its next event to nobody saves and ends,
        for process in processes:
            process.terminate()  # and this one does so at its next update
        try:
            for process in processes:
                process.join()
        finally:
            for process in processes:
                process.kill()
                process.join()


@contextlib.contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """While entered, a Ctrl-C waits: here until the end, in a process that is started meanwhile until `_heard`."""
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
    with contextlib.suppress(BrokenPipeError):
        parent.send(done(job, parent.send))


def done(job: Job, tell: Callable[[object], None]) -> JobEnds:
    """Do the job in this process, to its end or until a signal or an exception of `tell` stops it, which saves.

    `tell` receives the events that are worth sending: not every update.
    """

    def show(event: object) -> None:
        of_run = run_event(event)
        if not isinstance(of_run, Progress) or of_run.has_news:
            tell(event)

    try:
        ended = follow(_heard(job), show, begins=begins_a_run)
        return JobEnds(ended if isinstance(ended, Stop) else None)
    except LbadvisorError as error:
        return JobEnds(error)
    except Exception as error:
        return JobEnds(LbadvisorError(f"unexpected {type(error).__name__}: {error}"))


def _heard(job: Job) -> Generator[Any, None, Any]:
    """The job's events; a Ctrl-C that was held back is heard from here on."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return (yield from job.events())


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
