"""A ladder: the arms of the paper's table, each trained over seeds; stopped, it goes on where it was."""

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lbadvisor.advisor.arms import PlannedArm
from lbadvisor.advisor.recipe import Recipe, differing_fields, recipe_hash
from lbadvisor.advisor.records import Ladder, Run, RunStatus
from lbadvisor.advisor.schedule import in_updates
from lbadvisor.errors import DivergedError, RefusedError
from lbadvisor.runner import Progress, RunRequest, Started, find_earlier, resume_point, train_run
from lbadvisor.store import Store
from lbadvisor.training.data import preparing
from lbadvisor.training.dataset import Dataset, Preparing
from lbadvisor.training.environment import make_deterministic

__all__ = [
    "LadderRequest",
    "PlannedRun",
    "Progress",
    "RunBegins",
    "RunEnds",
    "planned_runs",
    "train_ladder",
]

RESULTS = (RunStatus.COMPLETE, RunStatus.DIVERGED)
"""How a run stands that is not trained again: that it diverged is what there is to know of it."""


@dataclass(frozen=True, slots=True)
class LadderRequest:
    """What to train: arms of one baseline and target, under which name; where everything lies.

    `micro` is that of `RunRequest`; an arm whose batch is no larger than so many examples goes in one piece.
    """

    name: str
    baseline: Recipe
    target_batch_size: int
    arms: tuple[PlannedArm, ...]
    device: torch.device
    database: Path
    data_dir: Path
    micro: int | Literal["auto"] | None = None


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run of the ladder: its arm and seed, its name, and what is stored of it so far, None if nothing is."""

    arm: PlannedArm
    seed: int
    name: str
    run: Run | None

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to train."""
        return self.run is not None and self.run.status in RESULTS


@dataclass(frozen=True, slots=True)
class RunBegins:
    """A run of the ladder begins, or goes on."""

    planned: PlannedRun
    started: Started


@dataclass(frozen=True, slots=True)
class RunEnds:
    """A run of the ladder has its result, `run`; `was_there` where it had it before the ladder came to it."""

    planned: PlannedRun
    run: Run
    was_there: bool


def planned_runs(request: LadderRequest) -> tuple[PlannedRun, ...]:
    """The ladder's runs in the order in which they are trained, with what is stored of each. Creates nothing.

    All arms with seed 0 come first, then all with seed 1: a ladder that is cut short has whole pairs of runs. A run is
    the one that stands for its arm and seed in the ladder already; else any stored run of the very same recipe and
    seed, whatever its name, one with a result first; else a new one. Raises `RefusedError` where the ladder's name, or
    a run's, belongs to another training, and `CheckpointError` if one that was begun cannot be resumed.
    """
    most = max(arm.seeds for arm in request.arms)
    order = [(arm, seed) for seed in range(most) for arm in request.arms if seed < arm.seeds]
    known = _Known.of(request)
    runs = tuple(_planned_run(request, known, arm, seed) for arm, seed in order)
    for planned in runs:
        if planned.run is not None and planned.run.status not in (RunStatus.RUNNING, *RESULTS):
            resume_point(request.database, planned.run)
    return runs


def train_ladder(request: LadderRequest) -> Generator[Preparing | RunBegins | Progress | RunEnds]:
    """Train what the ladder lacks, one run after the other; yields after every update.

    The data set is prepared once, and not at all where every run has its result. A run that diverges is a result, and
    the ladder goes on. Closing the iterator between two updates stops it: the run in training is saved, and the same
    request goes on from there. Nothing is stored before the data are loaded. Raises the errors of `errors.py`.
    """
    runs = planned_runs(request)
    for planned in runs:
        _run_request(request, planned)  # what cannot be trained so is refused before anything is
    dataset = None
    if not all(planned.is_done for planned in runs):
        make_deterministic(request.device)
        dataset = yield from preparing(in_updates(request.baseline), request.data_dir, request.device)
    with Store.open(request.database, create=True) as store:
        ladder = store.add_ladder(request.name, in_updates(request.baseline), request.target_batch_size)
        # A run that was begun with another number of CPU threads keeps that; the runs behind it have this process's.
        threads = torch.get_num_threads()
        for planned in runs:
            torch.set_num_threads(threads)
            if dataset is not None and not planned.is_done:
                yield from _trained(request, planned, dataset, store, ladder)
            elif planned.run is not None:
                store.add_to_ladder(ladder.number, planned.arm.arm.name, planned.run.number)
            ended = store.find_run(planned.name)
            if ended is not None:
                yield RunEnds(planned, ended, planned.is_done)


def _trained(
    request: LadderRequest, planned: PlannedRun, dataset: Dataset, store: Store, ladder: Ladder
) -> Iterator[RunBegins | Progress]:
    events = train_run(_run_request(request, planned), dataset)
    try:
        for event in events:
            match event:
                case Started():
                    store.add_to_ladder(ladder.number, planned.arm.arm.name, event.run.number)
                    yield RunBegins(planned, event)
                case Progress():
                    yield event
    except DivergedError:
        # It is stored with the run.
        return
    finally:
        with contextlib.suppress(DivergedError):
            events.close()


def _run_request(request: LadderRequest, planned: PlannedRun) -> RunRequest:
    micro, recipe = request.micro, planned.arm.recipe
    if isinstance(micro, int) and micro >= recipe.batch.size:
        micro = None
    return RunRequest(
        recipe=recipe,
        plan=planned.arm.plan,
        name=planned.name,
        seed=planned.seed,
        device=request.device,
        database=request.database,
        data_dir=request.data_dir,
        micro=micro,
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database holds: the ladder's runs by (arm, seed), and all runs by (recipe's hash, seed)."""

    of_ladder: dict[tuple[str, int], Run]
    by_training: dict[tuple[str, int], list[Run]]

    @classmethod
    def of(cls, request: LadderRequest) -> "_Known":
        if not request.database.exists():
            return cls({}, {})
        with Store.open(request.database, create=False) as store:
            ladder, runs = store.find_ladder(request.name), store.runs()
        if ladder is not None:
            _refuse_another(ladder, request)
        by_number = {run.number: run for run in runs}
        members = [(arm, by_number[number]) for arm, number in (ladder.arms if ladder else ()) if number in by_number]
        by_training: dict[tuple[str, int], list[Run]] = {}
        for run in runs:
            by_training.setdefault((recipe_hash(run.recipe), run.seed), []).append(run)
        return cls({(arm, run.seed): run for arm, run in members}, by_training)


def _refuse_another(ladder: Ladder, request: LadderRequest) -> None:
    differing = _differences(in_updates(ladder.baseline), in_updates(request.baseline))
    if ladder.target_batch_size != request.target_batch_size:
        differing.append(f"target batch size: {ladder.target_batch_size} there, {request.target_batch_size} here")
    if differing:
        raise RefusedError(
            f"the ladder `{ladder.name}` is of another training:\n  "
            + "\n  ".join(differing)
            + "\ngive the same again to go on with it, or --name for a new ladder"
        )


def _differences(there: Recipe, here: Recipe) -> list[str]:
    return [
        f"{field}: {before} there, {after} here"
        for field, before, after in differing_fields(there, here)
        if field != "description"
    ]


def _planned_run(request: LadderRequest, known: _Known, arm: PlannedArm, seed: int) -> PlannedRun:
    member = known.of_ladder.get((arm.arm.name, seed))
    if member is not None:
        differing = _differences(member.recipe, arm.recipe)
        if differing:
            raise RefusedError(
                f"the ladder `{request.name}` has {member.name} for the arm {arm.arm.name}, which is of another "
                "training:\n  " + "\n  ".join(differing) + "\ngive the same again, or --name for a new ladder"
            )
        return PlannedRun(arm, seed, member.name, member)
    same = known.by_training.get((recipe_hash(arm.recipe), seed), [])
    if same:
        best = max(same, key=lambda run: (run.status is RunStatus.COMPLETE, run.status in RESULTS, run.update))
        return PlannedRun(arm, seed, best.name, best)
    planned = PlannedRun(arm, seed, f"{request.name}-{arm.arm.name}-s{seed}", None)
    find_earlier(_run_request(request, planned))  # refuses a run of that name that is of another training
    return planned
