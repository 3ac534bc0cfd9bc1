"""A run: one training of one recipe with one seed, stored while it goes, and gone on with where it stopped."""

import math
import os
import platform
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import filelock
import torch

from lbadvisor import __version__
from lbadvisor.advisor.catalog import NETWORKS
from lbadvisor.advisor.plan import Plan, plan_json
from lbadvisor.advisor.recipe import Recipe, differing_fields
from lbadvisor.advisor.records import Environment, Measurement, Run, RunStatus
from lbadvisor.advisor.schedule import in_updates
from lbadvisor.errors import CheckpointError, DataError, DivergedError, RefusedError, UsageError
from lbadvisor.store import Store
from lbadvisor.training.data import preparing
from lbadvisor.training.dataset import Dataset, Preparing
from lbadvisor.training.loop import train
from lbadvisor.training.memory import largest_micro_size, naming_what_fits
from lbadvisor.training.micro_batches import check_micro_size, has_batch_norm
from lbadvisor.training.precision import check_compute
from lbadvisor.training.state import TrainState, checkpoints, load_checkpoint, save_checkpoint, start_state

FLUSH_SECONDS = 1.0
"""Measurements are written at most this often, in one transaction: a kill loses no more, a resume makes them again."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to train: a recipe, the plan that made it (if one did), a seed; under which name; where everything lies.

    `micro` is the size of the micro-batches in examples, `auto` for the largest that fits into a GPU's memory, None for
    what the run had before, and at first the batch in one piece. Raises `UsageError` where the device cannot compute
    as the recipe says, or the micro-batches would change the result.
    """

    recipe: Recipe
    plan: Plan | None
    name: str
    seed: int
    device: torch.device
    database: Path
    data_dir: Path
    micro: int | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        check_compute(self.recipe.compute, self.device)
        facts = NETWORKS.get(self.recipe.model.name)
        if isinstance(self.micro, int) and facts is not None:
            check_micro_size(self.recipe, self.micro, has_batch_norm=facts.batch_norm)


@dataclass(frozen=True, slots=True)
class Started:
    """The first event of a run: the run, at which update training begins, and what the user should know of it."""

    run: Run
    update: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """One update was made; with its measurement where one was due."""

    update: int
    measurement: Measurement | None


def chosen_device(name: str) -> torch.device:
    """The device called auto, cpu or cuda; auto is the GPU where there is one. Raises `UsageError`."""
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"no device `{name}`: there are auto, cpu and cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("there is no CUDA device on this machine: give --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def find_earlier(request: RunRequest) -> Run | None:
    """The stored run of the request's name, if there is one. Creates nothing.

    Raises `RefusedError` where it is one of another recipe or seed, naming the fields that differ.
    """
    if not request.database.exists():
        return None
    with Store.open(request.database, create=False) as store:
        run = store.find_run(request.name)
    if run is None:
        return None
    differing = [
        f"{field}: {before} there, {after} here"
        for field, before, after in differing_fields(run.recipe, in_updates(request.recipe))
        if field != "description"
    ]
    if run.seed != request.seed:
        differing.append(f"seed: {run.seed} there, {request.seed} here")
    if differing:
        raise RefusedError(
            f"the run `{run.name}` is of another training:\n  "
            + "\n  ".join(differing)
            + "\ngive the same again to go on with it, or --name for a new run"
        )
    return run


def train_run(request: RunRequest) -> Generator[Preparing | Started | Progress]:
    """Train the request's run to its end, from its last checkpoint if it has one; yields after every update.

    While the data set is prepared it yields how far that is: closed there, nothing of the run was begun.

    Closing the iterator between two updates stops the run: its state is saved and the same request goes on from
    there, bit for bit. Nothing is stored before the data are loaded and the network is built. Raises the errors of
    `errors.py`; a loss that is not finite ends the run as diverged.
    """
    earlier = find_earlier(request)
    recipe = in_updates(request.recipe) if earlier is None else earlier.recipe
    _prepare(request.device)
    dataset = yield from preparing(recipe, request.data_dir, request.device)
    micro_size = _micro_size(recipe, request, dataset, earlier)
    state = _built(recipe, request, dataset)
    if micro_size is not None:
        check_micro_size(recipe, micro_size, has_batch_norm=has_batch_norm(state.model))
        state.micro_size = micro_size
    with Store.open(request.database, create=True) as store:
        run = earlier or _added(store, recipe, request)
        folder = checkpoint_folder(request.database, run)
        with _only_process(folder, run):
            notes = _resumed(folder, state) if earlier else []
            notes += _micro_notes(state, micro_size)
            if earlier:
                store.discard_after(run.number, state.update)
                if _device_name(request.device) != run.environment.device_name:
                    notes.append(
                        f"the run began on {run.environment.device_name} and goes on on "
                        f"{_device_name(request.device)}: the order of examples is the same, the bits are not"
                    )
            store.set_status(run.number, RunStatus.RUNNING, None, resumed=earlier is not None)
            yield Started(run, state.update, tuple(notes))
            yield from _trained(store, run, state, dataset, folder)


def checkpoint_folder(database: Path, run: Run) -> Path:
    """Where the run's checkpoints lie: beside the database, under its name and the moment when the run was made."""
    return database.parent / "checkpoints" / database.stem / f"{run.name}-{run.created_at:%Y%m%dT%H%M%S.%f}"


def _trained(store: Store, run: Run, state: TrainState, dataset: Dataset, folder: Path) -> Iterator[Progress]:
    pending: list[Measurement] = []
    flushed = saved = time.monotonic()

    def flush() -> None:
        store.record(run.number, pending)
        pending.clear()

    def save() -> None:
        # The rows first: what a checkpoint has behind it is stored.
        flush()
        save_checkpoint(folder, state)

    try:
        for measurement in naming_what_fits(train(state, dataset), state):
            if measurement is not None:
                pending.append(measurement)
                if not math.isfinite(measurement.loss):
                    raise DivergedError(
                        f"the run {run.name} diverged: its loss is {measurement.loss} at update {measurement.update}; "
                        "lower optimizer.lr, or clip (--adapt with clip, or a [clipping] table), and give --name"
                    )
            now = time.monotonic()
            if pending and now - flushed >= FLUSH_SECONDS:
                flush()
                flushed = now
            if now - saved >= run.recipe.checkpoints.every_seconds:
                save()
                saved = time.monotonic()
            yield Progress(state.update, measurement)
        save()
        store.set_status(run.number, RunStatus.COMPLETE, f"all {run.updates} updates made")
    except GeneratorExit:
        save()
        store.set_status(run.number, RunStatus.STOPPED, f"stopped on request at update {state.update}")
        raise
    except DivergedError as error:
        flush()
        store.set_status(run.number, RunStatus.DIVERGED, str(error))
        raise
    except Exception as error:
        store.set_status(run.number, RunStatus.FAILED, f"{type(error).__name__}: {error}")
        raise


def _prepare(device: torch.device) -> None:
    """Make the kernels deterministic, and denormal numbers zero: they slow a CPU down many times."""
    torch.set_flush_denormal(True)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def _built(recipe: Recipe, request: RunRequest, dataset: Dataset) -> TrainState:
    try:
        return start_state(recipe, request.seed, dataset.shape, dataset.classes, request.device)
    except RuntimeError as error:
        raise DataError(
            f"the network {recipe.model.name} cannot be built for images of {dataset.shape}: {error}"
        ) from error


def _micro_size(recipe: Recipe, request: RunRequest, dataset: Dataset, earlier: Run | None) -> int | None:
    """The size asked for; of `auto` the one that fits, and None where the run goes on: it keeps the one it has."""
    if request.micro != "auto":
        return request.micro
    gone_on = earlier is not None and bool(checkpoints(checkpoint_folder(request.database, earlier)))
    if gone_on or request.device.type != "cuda":
        # A CPU's memory is the machine's: it swaps, and does not say where it ends.
        return None
    return largest_micro_size(partial(_built, recipe, request, dataset), dataset)


def _micro_notes(state: TrainState, micro_size: int | None) -> list[str]:
    """Let `state` have the size asked for, also where its checkpoint had another; what there is to say of it."""
    before, size = state.micro_size or state.recipe.batch.size, micro_size or state.micro_size
    notes = []
    if state.update and micro_size is not None and micro_size != before:
        notes.append(
            f"the run went in micro-batches of {before} and goes on in {micro_size}: equal to rounding, not bit for bit"
        )
    elif size is not None and size < state.recipe.batch.size:
        notes.append(f"each update goes in micro-batches of {size}")
    state.micro_size = size
    return notes


def _added(store: Store, recipe: Recipe, request: RunRequest) -> Run:
    plan, plan_number = request.plan, None
    if plan is not None and plan.baseline is not None and plan.adapted is not None:
        plan_number = store.add_plan(plan_json(plan), plan.baseline, plan.adapted)
    updates = recipe.schedule.updates
    if updates is None:
        raise ValueError("the recipe is not in updates")
    return store.add_run(request.name, recipe, request.seed, updates, _environment(request.device), plan_number)


@contextmanager
def _only_process(folder: Path, run: Run) -> Iterator[None]:
    """While entered no other process trains the run; the lock goes with the process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise RefusedError(f"another process is training the run {run.name}: wait for it, or stop it") from None
    try:
        yield
    finally:
        lock.release()


def _resumed(folder: Path, state: TrainState) -> list[str]:
    """Load the newest sound checkpoint into `state`, if there are any; what is wrong with the newer ones.

    Raises `CheckpointError` where there are some and none is sound: a run does not begin again unasked.
    """
    damaged: list[str] = []
    for path in checkpoints(folder):
        try:
            load_checkpoint(path, state)
            return [f"{what}: going on from the one before" for what in damaged]
        except CheckpointError as error:
            damaged.append(str(error))
    if damaged:
        raise CheckpointError(
            "\n".join(damaged) + f"\nno sound checkpoint is left: delete {folder} to train the run anew, or give --name"
        )
    return []


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def _environment(device: torch.device) -> Environment:
    commit = _git("rev-parse", "HEAD")
    return Environment(
        device=device.type,
        device_name=_device_name(device),
        lbadvisor_version=__version__,
        python_version=platform.python_version(),
        torch_version=torch.__version__,
        git_commit=commit,
        git_dirty=None if commit is None else bool(_git("status", "--porcelain")),
    )


def _git(*arguments: str) -> str | None:
    """What git says of the working folder, None where it is no repository or there is no git."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
