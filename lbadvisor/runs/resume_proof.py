"""Proves, on the user's own recipe, data and device, that a killed run ends with the same bits as an uninterrupted one.

Trains the same first updates twice, in separate processes and a temporary database: one run without a stop, and one
that is killed (SIGKILL) in the middle and resumed by a new process. Then compares everything that changes.
"""

import contextlib
import math
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass, fields, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lbadvisor.errors import LbadvisorError, RankError, UsageError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Measurements
from lbadvisor.recipe.schedule import epochs_of, in_updates
from lbadvisor.records.run import Environment, Measurement, Reading, WrittenRecipe
from lbadvisor.runs.on_ranks import places_here, run_on_ranks
from lbadvisor.runs.runner import Progress, RunRequest, Started, train_run
from lbadvisor.runs.workspace import Workspace
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints, update_of
from lbadvisor.training.checkpoints.content import read_content
from lbadvisor.training.data.dataset import Preparing
from lbadvisor.training.machine import Machine
from lbadvisor.training.ranks import Ranks, ranks_here

UPDATES = 24
"""Default number of updates: by then, momentum, statistics and averages have changed."""
POINTS = 8
"""The first updates are measured at least so often: what is measured changes no weight."""
STRAIGHT, KILLED, RESUMED = "straight", "killed", "resumed"
"""The three parts of a proof: a run without a stop, one up to its kill, and what became of that."""


@dataclass(frozen=True, slots=True)
class BitDifference:
    """The first thing that is not the same, a tensor or a number, by its name.

    `elements` of the tensor's `of` differ in their bits, by at most `largest`; nan if no difference can be taken.
    """

    name: str
    elements: int
    of: int
    largest: float


@dataclass(frozen=True, slots=True)
class ResumeProof:
    """What was compared after `updates` updates, and the first `difference`, None if every bit is the same.

    The run was killed after `killed_at` updates, at `epoch`, and resumed from its checkpoint of `resumed_from`. As
    many `ranks` trained it together.
    """

    recipe: WrittenRecipe
    seed: int
    updates: int
    killed_at: int
    epoch: float
    resumed_from: int
    tensors: int
    measurements: int
    environment: Environment
    ranks: int
    difference: BitDifference | None


@dataclass(frozen=True, slots=True)
class ProofProgress:
    """One update of a part (`STRAIGHT`, `KILLED` or `RESUMED`) was made; `until` is the part's last."""

    part: str
    update: int
    until: int


def prove(
    machine: Machine, recipe: Recipe, seed: int, updates: int | None, kill_at: int | None, ranks: int = 1
) -> Generator[Preparing | ProofProgress, None, ResumeProof]:
    """Make the proof; yields how far it is, and returns what came of it.

    `updates` are the first ones of the
    recipe that are made, all of them at most, `UPDATES` if not given; the kill comes behind `kill_at` updates, in the
    middle if not given, within an epoch. Only the cadence of measuring is changed: it moves no weight. As many `ranks`
    of this machine train each run together. Raises `UsageError` if they do not fit, and what training raises.
    """
    if machine.ranks.are_several:
        raise UsageError("verify-resume starts its ranks itself: give --ranks, without torchrun")
    machine.as_rank(Ranks(0, ranks, 0, ranks)).check(recipe)
    recipe = in_updates(recipe)
    updates, kill_at = _checked(recipe, updates, kill_at)
    # Saved before the kill, if there are enough updates, so that updates and measurements are repeated.
    save_at = 2 * kill_at // 3
    every = max(1, updates // POINTS)
    cadence = Measurements(
        every_updates=min(every, recipe.measurements.every_updates or every),
        evaluate_every_updates=min(max(1, updates // 2), recipe.measurements.evaluate_every_updates or updates),
        also=recipe.measurements.also,
    )
    recipe = recipe.model_copy(update={"measurements": cadence})
    with tempfile.TemporaryDirectory(prefix="lbadvisor-proof-") as folder:
        straight, killed = RunRequest(recipe, None, STRAIGHT, seed), RunRequest(recipe, None, KILLED, seed)
        with Workspace.open(Path(folder) / "proof.db", machine) as workspace:
            yield from _in_processes(workspace, straight, STRAIGHT, (updates,), ranks)
            updates = _ended(workspace, updates, kill_at)
            stops = (save_at, kill_at) if save_at else (kill_at,)
            yield from _in_processes(workspace, killed, KILLED, stops, ranks)
            resumed_from = yield from _in_processes(workspace, killed, RESUMED, (updates,), ranks)
            return _compared(workspace, straight, updates, kill_at, resumed_from, ranks)


def _checked(recipe: Recipe, updates: int | None, kill_at: int | None) -> tuple[int, int]:
    length = recipe.schedule.updates or 0
    if length < 2:
        raise UsageError(f"the recipe has only {length} update: the kill needs at least two")
    if updates is None:
        updates = min(length, max(UPDATES, (kill_at or 0) + 1))
    if not 2 <= updates <= length:
        raise UsageError(f"--updates {updates} is not between 2 and the recipe's {length} updates")
    if kill_at is None:
        kill_at = updates // 2
        if kill_at + 1 < updates and kill_at * recipe.batch.size % recipe.data.train_examples == 0:
            kill_at += 1
    if not 1 <= kill_at < updates:
        raise UsageError(f"--at {kill_at} is not between 1 and {updates - 1}, before the last update")
    return updates, kill_at


def _ended(workspace: Workspace, updates: int, kill_at: int) -> int:
    """The update at which the run without a stop ended: by distance, it may be before `updates`."""
    ended = workspace.store.run(STRAIGHT).update
    if kill_at >= ended:
        raise UsageError(f"--at {kill_at}: scheduled by distance, the training ends at update {ended}; give less")
    return min(updates, ended)


def _in_processes(
    workspace: Workspace, request: RunRequest, part: str, stops: tuple[int, ...], ranks: int
) -> Generator[Preparing | ProofProgress, None, int]:
    """Let new processes, the ranks, train the request, saving at each of the `stops`.

    Gives back the update at which they began. A part that is to be killed is killed at the last stop, without saving.
    Raises what a process raises.
    """
    # Processes of their own that share nothing: not a fork, which would have this one's memory.
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(ranks)]
    places = [{}] if ranks == 1 else places_here(ranks)
    processes = [
        context.Process(
            target=_train, args=(place, workspace, request, stops, part == KILLED, pipe), name=f"lbadvisor {part}"
        )
        for place, (_, pipe) in zip(places, pipes, strict=True)
    ]
    began, failures = 0, list[Exception]()
    try:
        for process in processes:
            process.start()
        for _, pipe in pipes:
            pipe.close()
        for message in (message for ours, _ in pipes for message in _received(ours)):
            match message:
                case Started():
                    began = message.update
                case Preparing():
                    yield message
                case int():
                    yield ProofProgress(part, message, stops[-1])
                case Exception():
                    failures.append(message)
            if part == KILLED and message == stops[-1]:
                break
        if part != KILLED or failures:
            for process in processes:
                process.join()
    finally:
        # Dropped before its end, none is left behind.
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        for ours, _ in pipes:
            ours.close()
    # A rank that failed is lost to the others, which fail in turn.
    for failure in sorted(failures, key=lambda failure: isinstance(failure, RankError)):
        raise failure
    expected = -signal.SIGKILL if part == KILLED else 0
    for process in processes:
        if process.exitcode != expected:
            raise LbadvisorError(f"the {part} run's process ended with {process.exitcode}, not with {expected}")
    return began


def _received(pipe: Connection) -> Iterator[Any]:
    """What a process sends until it ends."""
    with contextlib.suppress(EOFError):
        while True:
            yield pipe.recv()


def _train(
    place: dict[str, str],
    workspace: Workspace,
    request: RunRequest,
    stops: tuple[int, ...],
    killed: bool,
    parent: Connection,
) -> None:
    """What a process does, with its `place` among the ranks in its environment."""
    # Ctrl-C reaches the whole group of processes: the parent stops this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(place)

    def train() -> None:
        own = replace(workspace, machine=workspace.machine.as_rank(ranks_here())) if place else workspace
        for stop in stops:
            _train_until(own, request, stop, parent, kill=killed and stop == stops[-1])

    try:
        if place:
            run_on_ranks(train)
        else:
            train()
    except BrokenPipeError:
        # The parent has gone.
        return
    except LbadvisorError as error:
        parent.send(error)
    except Exception as error:
        parent.send(LbadvisorError(f"unexpected {type(error).__name__}: {error}"))


def _train_until(workspace: Workspace, request: RunRequest, until: int, parent: Connection, *, kill: bool) -> None:
    events = train_run(workspace, request)
    for event in events:
        match event:
            case Preparing() | Started():
                parent.send(event)
            case Progress():
                parent.send(event.update)
                if event.update == until:
                    if kill:
                        os.kill(os.getpid(), signal.SIGKILL)
                    events.close()


def _compared(
    workspace: Workspace, request: RunRequest, updates: int, kill_at: int, resumed_from: int, ranks: int
) -> ResumeProof:
    tensors, rows = [], []
    for name in (STRAIGHT, KILLED):
        run = workspace.store.run(name)
        path = checkpoints(workspace.store.checkpoint_folder(run))[0]
        if update_of(path) != updates:
            raise LbadvisorError(f"the {name} run ended at update {update_of(path)}, not at {updates}")
        header, content = read_content(path, torch.device("cpu"))
        tensors.append(_named_values(content) | {"milestones": header.milestones})
        rows.append(_named_rows(workspace.store.measurements(run.number), workspace.store.readings(run.number)))
    recipe = request.recipe
    return ResumeProof(
        recipe=recipe,
        seed=request.seed,
        updates=updates,
        killed_at=kill_at,
        epoch=epochs_of(kill_at, recipe.data.train_examples, recipe.batch.size),
        resumed_from=resumed_from,
        tensors=sum(isinstance(value, Tensor) for value in tensors[0].values()),
        measurements=len(workspace.store.measurements(run.number)),
        environment=run.environment,
        ranks=ranks,
        difference=first_difference(*tensors) or first_difference(*rows),
    )


def first_difference(straight: dict[str, Any], resumed: dict[str, Any]) -> BitDifference | None:
    """The first of the named tensors and numbers whose bits differ, in the order of `straight`; None if none does."""
    for name in [*straight, *(name for name in resumed if name not in straight)]:
        if name not in straight or name not in resumed:
            return BitDifference(f"{name} (only {STRAIGHT if name in straight else RESUMED})", 1, 1, math.nan)
        left, right = (value if isinstance(value, Tensor) else None for value in (straight[name], resumed[name]))
        if left is None or right is None:
            if repr(straight[name]) != repr(resumed[name]):
                return BitDifference(name, 1, 1, _distance(straight[name], resumed[name]))
        elif (left.shape, left.dtype) != (right.shape, right.dtype):
            return BitDifference(name, left.numel(), left.numel(), math.nan)
        else:
            # By their bytes: a nan is its own equal there, and -0.0 is not 0.0.
            size = left.element_size()
            bytes_left, bytes_right = (t.contiguous().reshape(-1).view(torch.uint8) for t in (left, right))
            differs = (bytes_left != bytes_right).reshape(-1, size).any(1)
            if differs.any():
                gaps = left.double().reshape(-1)[differs] - right.double().reshape(-1)[differs]
                return BitDifference(name, int(differs.sum()), left.numel(), gaps.abs().max().item())
    return None


def _distance(left: Any, right: Any) -> float:
    return abs(left - right) if isinstance(left, int | float) and isinstance(right, int | float) else math.nan


def _named_values(content: dict[str, Any]) -> dict[str, Any]:
    """What moves, in the order of reading: weights and statistics, the optimizer, averages, sums of the interval."""
    named: dict[str, Any] = {f"model.{name}": tensor for name, tensor in content["model"].items()}
    for number, kept in content["optimizer"]["state"].items():
        named |= {f"optimizer.{number}.{name}": value for name, value in kept.items()}
    for number, group in enumerate(content["optimizer"]["param_groups"]):
        named |= {f"optimizer.group{number}.{name}": value for name, value in group.items()}
    named |= {f"averages.{number}": tensor for number, tensor in enumerate(content["averages"] or ())}
    return named | {"interval": content["interval"]}


_COMPARED = tuple(field.name for field in fields(Measurement) if field.name != "seconds")


def _named_rows(measured: list[Measurement], readings: list[Reading]) -> dict[str, Any]:
    named = {f"measurement {m.update}: {field}": getattr(m, field) for m in measured for field in _COMPARED}
    return named | {f"reading {r.update}: {r.quantity} {r.part}".rstrip(): r.value for r in readings}
