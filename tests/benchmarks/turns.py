"""Races: contestants, each in a process of its own, make some updates in turn; and what a race is kept as. No torch."""

import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

WAITS_SECONDS = 300.0
"""Longer than any turn, with its process's start."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker trains: a loop of this `kind` on a recipe, perhaps with another network, or a layer of `shape`.

    `looks`: ours looks around for other processes, as a run does. While it waits for its turn it would take the other
    contestants for them, so only a race that `settles` before each turn has it.
    """

    kind: str = "ours"
    recipe: str = ""
    network: str = ""
    batch: int = 128
    ghost: int | None = None
    precision: str = "float32"
    threads: int = os.cpu_count() or 1
    keeps_memory: bool = True
    shape: tuple[int, ...] = ()
    channels_last: bool = False
    looks: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A contestant under a name, with so many busy processes beside it."""

    name: str
    task: Task
    beside: int = 0


@dataclass(frozen=True, slots=True)
class Race:
    """Entries that take turns of `updates` each, `rounds` times.

    `apart`: one process at a time, started anew for each turn, if there is not enough memory for all. `settles`: before
    a turn as many updates are made unmeasured, in which a training notices what is beside it.
    """

    what: str
    entries: tuple[Entry, ...]
    updates: int
    rounds: int
    apart: bool = False
    settles: bool = False


@dataclass(slots=True)
class Figures:
    """What a race, or another part, measured: for each name a number per round; and why a name has none."""

    what: str
    unit: str
    values: dict[str, list[float]]
    missing: dict[str, str] = field(default_factory=dict)


class WorkerFailedError(Exception):
    """A worker ended, or did not answer; with what it said last."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A task in its process."""

    process: "subprocess.Popen[bytes]"
    said: IO[str]

    def turn(self, updates: int) -> float:
        """Seconds of one of so many updates, which are made now. Raises `WorkerFailedError`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(f"{updates}\n".encode())
        except OSError:
            raise WorkerFailedError(self._last_words()) from None
        if not select.select([self.process.stdout], [], [], WAITS_SECONDS)[0]:
            raise WorkerFailedError(f"no answer in {WAITS_SECONDS:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise WorkerFailedError(self._last_words())
        return float(line)

    def _last_words(self) -> str:
        code = self.process.wait()
        self.said.seek(0)
        lines = [line.strip() for line in self.said if line.strip()]
        return lines[-1] if lines and code > 0 else f"ended with exit code {code}"


@contextmanager
def worker(task: Task) -> Iterator[Worker]:
    """A process with the task, killed at the end."""
    command = [sys.executable, str(Path(__file__).with_name("worker.py")), json.dumps(asdict(task))]
    with (
        tempfile.TemporaryFile("w+") as said,
        # Unbuffered: what is read is what has come, and closing a dead process's pipe flushes nothing into it.
        subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said) as process,
    ):
        try:
            yield Worker(process, said)
        finally:
            process.kill()


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """While entered, so many processes keep a core busy each."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.2 if count else 0)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def run(race: Race) -> Figures:
    """Milliseconds of an update, of every entry; one that fails is left out of the rounds that follow."""
    figures = Figures(race.what, "ms", {entry.name: [] for entry in race.entries})
    with ExitStack() as stack:
        workers: dict[Task, Worker] = {}
        if not race.apart:
            workers = {task: stack.enter_context(worker(task)) for task in {e.task: None for e in race.entries}}
        for number in range(race.rounds + (not race.apart)):
            for entry in race.entries:
                if entry.name not in figures.missing:
                    _take_turn(race, entry, workers.get(entry.task), figures, measured=race.apart or number > 0)
    for name in figures.missing:
        figures.values.pop(name, None)
    return figures


def _take_turn(race: Race, entry: Entry, living: Worker | None, figures: Figures, *, measured: bool) -> None:
    """One turn of an entry, in its living process or in a new one."""
    try:
        with ExitStack() as stack:
            here = living
            if here is None:
                here = stack.enter_context(worker(entry.task))
                here.turn(1)
            stack.enter_context(neighbours(entry.beside))
            if race.settles and measured:
                here.turn(race.updates)
            seconds = here.turn(race.updates if measured else 2)
    except WorkerFailedError as error:
        print(f"  {entry.name}: left out: {error}", flush=True)
        figures.missing[entry.name] = str(error)
        return
    if measured:
        figures.values[entry.name].append(float(f"{1000 * seconds:.5g}"))


def show(figures: Figures) -> None:
    """Print each name's median and range, and the first's speed relative to it."""
    print(f"{figures.what}; {figures.unit}", flush=True)
    for name, values in figures.values.items():
        middle, low, high = statistics.median(values), min(values), max(values)
        print(f"  {name:<28} {middle:10.2f} ({low:.2f} to {high:.2f}), n = {len(values)}", flush=True)
