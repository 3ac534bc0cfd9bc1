"""Ladders: the arms of the paper's table, each trained over seeds, by one process or several.

Several ladders of one baseline, each to its own target batch size, are a sweep: they share the baseline's runs.
"""

import contextlib
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from lbadvisor.errors import DivergedError, InTrainingError, RefusedError
from lbadvisor.plan.arms import LadderRequest, PlannedArm, with_distances
from lbadvisor.plan.distances import distances_of
from lbadvisor.recipe.identity import Identity, differences, identity_of
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.records.run import Ladder, Run, RunStatus
from lbadvisor.runs.reuse import RESULTS, preferred, refuse_another
from lbadvisor.runs.runner import Progress, RunRequest, Started, resume_point, train_run
from lbadvisor.runs.workspace import Workspace
from lbadvisor.store import Store
from lbadvisor.training.data.dataset import Dataset, Preparing
from lbadvisor.training.data.preparation import preparing
from lbadvisor.training.environment import make_deterministic

__all__ = [
    "LadderPlace",
    "LadderRequest",
    "PlannedRun",
    "Progress",
    "RunBegins",
    "RunEnds",
    "RunEvents",
    "Waits",
    "planned_runs",
    "train_ladder",
]

POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class LadderPlace:
    """The arm of a ladder, by its name, that a run stands for with its seed."""

    ladder: str
    arm: str
    seed: int


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One run to train: its arm and seed, its name, and what is stored of it so far, None if nothing is.

    `places` are those it stands for: the baseline's in every ladder. `is_member`: it stands for all of them already.
    """

    arm: PlannedArm
    seed: int
    name: str
    run: Run | None
    places: tuple[LadderPlace, ...]
    is_member: bool = False

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to train."""
        return self.run is not None and self.run.status in RESULTS


@dataclass(frozen=True, slots=True)
class RunBegins:
    """A run of the ladder starts or resumes."""

    planned: PlannedRun
    started: Started


@dataclass(frozen=True, slots=True)
class RunEnds:
    """A run of the ladder has its result, `run`; `was_there` if this process did not train it."""

    planned: PlannedRun
    run: Run
    was_there: bool


@dataclass(frozen=True, slots=True)
class Waits:
    """Other processes train the remaining `runs`: wait for them, and take over if those processes die."""

    runs: int


RunEvents = Generator[Preparing | RunBegins | Progress | RunEnds | Waits]
"""What training runs of ladders yields."""


def planned_runs(store: Store, *requests: LadderRequest) -> tuple[PlannedRun, ...]:
    """The ladders' runs in the order in which they are trained, with what is stored of each. Creates nothing.

    All arms of all ladders with seed 0 come first, then all with seed 1: what is cut short has whole pairs of runs. A
    run is the one that stands for its arm and seed in the ladder already; else a stored run of the same training,
    whatever its name (`reuse.preferred`); else a new one, and the same one for all ladders. Raises `RefusedError` if a
    ladder's name, or a run's, belongs to another training, and `CheckpointError` if one that was begun cannot be
    resumed.

    An arm by distance has its recipe once the run that it follows is complete: one run, so that its own runs are one
    training over several seeds, and are the same whatever seeds the ladder has later.
    """
    known = _Known.of(store, requests)
    arms = [(request, _with_distances(store, request, known, arm)) for request in requests for arm in request.arms]
    runs: dict[str, PlannedRun] = {}
    for seed in range(max(arm.seeds for _, arm in arms)):
        for request, arm in arms:
            if seed < arm.seeds:
                planned = _planned_run(request.name, known, arm, seed)
                same = runs.setdefault(planned.name, planned)
                if same is not planned:
                    places, is_member = (*same.places, *planned.places), same.is_member and planned.is_member
                    runs[planned.name] = replace(same, places=places, is_member=is_member)
    for planned in runs.values():
        if planned.run is not None and planned.run.status not in (RunStatus.RUNNING, *RESULTS):
            resume_point(store, planned.run)
    return tuple(runs.values())


def train_ladder(workspace: Workspace, *requests: LadderRequest) -> RunEvents:
    """Train what the ladders of one baseline lack, one run after the other; yields after every update.

    Several processes may train one ladder: each takes the next run that has no result and that no living process
    trains, and waits for the rest; a run that a process left behind is resumed. The data set is prepared once, and not
    at all if every run has its result. A run that diverges is a result, and the ladder continues. Closing the iterator
    between two updates stops it: the run in training is saved, and the same requests resume it. Nothing is stored
    before the data are loaded. Raises the errors of `errors.py`.
    """
    store, machine = workspace.store, workspace.machine
    runs = planned_runs(store, *requests)
    for one in runs:
        _workspace_of(workspace, one).machine.check(one.arm.recipe)  # before anything is trained
    if all(one.is_done and one.is_member for one in runs):
        # Nothing is written: the database may be one that can only be read.
        yield from (RunEnds(one, one.run, was_there=True) for one in runs if one.run is not None)
        return
    dataset = None
    if not all(one.is_done for one in runs):
        make_deterministic(machine.device)
        dataset = yield from preparing(in_updates(requests[0].baseline), machine.data_dir, machine.device)
    ladders = {
        request.name: store.add_ladder(request.name, in_updates(request.baseline), request.target_batch_size).number
        for request in requests
    }
    # A run that was begun with another number of CPU threads keeps that; the runs behind it have this process's.
    threads = torch.get_num_threads()
    left = [one.places for one in runs]
    while left:
        planned = _next(store, requests, left)
        if planned is None:
            # Told each time, so that a stop is heard.
            yield Waits(len(left))
            time.sleep(POLL_SECONDS)
            continue
        torch.set_num_threads(threads)
        if dataset is not None and not planned.is_done:
            try:
                yield from _trained(workspace, planned, dataset, ladders)
            except InTrainingError:
                continue  # another process took it at the same moment
        elif planned.run is not None:
            _add_to_ladders(store, planned, planned.run, ladders)
        left = [places for places in left if planned.places[0] not in places]
        ended = store.find_run(planned.name)
        if ended is not None:
            yield RunEnds(planned, ended, planned.is_done)


def _next(
    store: Store, requests: Sequence[LadderRequest], left: Sequence[tuple[LadderPlace, ...]]
) -> PlannedRun | None:
    """The first of the runs whose places are `left` that has its result, or that can be trained now."""
    for planned in planned_runs(store, *requests):
        if any(planned.places[0] in places for places in left):
            run = planned.run
            if planned.arm.awaits_distances and not planned.is_done:
                continue
            if run is None or planned.is_done:
                return planned
            if run.status is not RunStatus.RUNNING:
                # What seemed interrupted may have ended between the look at its row and that at its lock.
                return replace(planned, run=store.run(str(run.number)))
    return None


def _add_to_ladders(store: Store, planned: PlannedRun, run: Run, ladders: Mapping[str, int]) -> None:
    """Note the run in all of its places; `ladders` are their numbers by name."""
    for place in planned.places:
        store.add_to_ladder(ladders[place.ladder], place.arm, run.number)


def _trained(
    workspace: Workspace, planned: PlannedRun, dataset: Dataset, ladders: Mapping[str, int]
) -> Iterator[RunBegins | Progress]:
    asked = RunRequest(planned.arm.recipe, planned.arm.plan, planned.name, planned.seed)
    events = train_run(_workspace_of(workspace, planned), asked, dataset)
    try:
        for event in events:
            match event:
                case Started():
                    _add_to_ladders(workspace.store, planned, event.run, ladders)
                    yield RunBegins(planned, event)
                case Progress():
                    yield event
    except DivergedError:
        # It is stored with the run.
        return
    finally:
        with contextlib.suppress(DivergedError):
            events.close()


def _workspace_of(workspace: Workspace, planned: PlannedRun) -> Workspace:
    """The same; an arm whose batch is no larger than the micro-batches goes in one piece."""
    return replace(workspace, machine=workspace.machine.for_batches_of(planned.arm.recipe.batch.size))


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database holds: the ladders' runs by place, all runs by what they train, and by their names.

    `new` are the names of planned runs that are not stored, by what they train.
    """

    members: dict[LadderPlace, Run]
    by_identity: dict[Identity, list[Run]]
    by_name: dict[str, Run]
    new: dict[Identity, str]

    @classmethod
    def of(cls, store: Store, requests: Sequence[LadderRequest]) -> "_Known":
        runs = store.runs()
        members: dict[LadderPlace, Run] = {}
        by_number = {run.number: run for run in runs}
        for request in requests:
            ladder = store.find_ladder(request.name)
            if ladder is not None:
                _refuse_another(ladder, request)
                own = [(arm, by_number[number]) for arm, number in ladder.arms if number in by_number]
                members |= {LadderPlace(request.name, arm, run.seed): run for arm, run in own}
        by_identity: dict[Identity, list[Run]] = {}
        for run in runs:
            by_identity.setdefault(identity_of(run.recipe, run.seed), []).append(run)
        return cls(members, by_identity, {run.name: run for run in runs}, {})


def _refuse_another(ladder: Ladder, request: LadderRequest) -> None:
    differing = differences(ladder.baseline, request.baseline)
    if ladder.target_batch_size != request.target_batch_size:
        differing.append(f"target batch size: {ladder.target_batch_size} there, {request.target_batch_size} here")
    if differing:
        raise RefusedError(
            f"the ladder `{ladder.name}` belongs to another training:\n  "
            + "\n  ".join(differing)
            + "\nrepeat its original options to resume it, or give --name for a new ladder"
        )


def _with_distances(store: Store, request: LadderRequest, known: _Known, arm: PlannedArm) -> PlannedArm:
    """The arm, with the distances that it awaits if the run it follows is complete."""
    if not arm.awaits_distances:
        return arm
    followed = next(one for one in request.arms if one.arm.name == arm.arm.follows)
    run = _planned_run(request.name, known, followed, 0).run
    if run is not None and run.status is RunStatus.DIVERGED:
        raise RefusedError(
            f"the arm {arm.arm.name} takes its distances from {run.name}, which diverged: leave the arm out, or lower "
            "the baseline's learning rate"
        )
    if run is None or run.status is not RunStatus.COMPLETE:
        return arm
    return with_distances(arm, distances_of(run, store.measurements(run.number), request.baseline))


def _planned_run(ladder: str, known: _Known, arm: PlannedArm, seed: int) -> PlannedRun:
    place = LadderPlace(ladder, arm.arm.name, seed)
    member, own_name = known.members.get(place), f"{ladder}-{arm.arm.name}-s{seed}"
    if arm.awaits_distances:  # what it trains is not known yet
        return PlannedRun(arm, seed, own_name if member is None else member.name, member, (place,), member is not None)
    if member is not None:
        differing = differences(member.recipe, arm.recipe)
        if differing:
            raise RefusedError(
                f"the ladder `{ladder}` has {member.name} for the arm {arm.arm.name}, which is of another "
                "training:\n  "
                + "\n  ".join(differing)
                + "\nrepeat the original options, or give --name for a new ladder"
            )
        return PlannedRun(arm, seed, member.name, member, (place,), is_member=True)
    identity = identity_of(arm.recipe, seed)
    name = known.new.get(identity, own_name)
    run = preferred(known.by_identity.get(identity, ()), name)
    if run is not None:
        return PlannedRun(arm, seed, run.name, run, (place,))
    if name in known.by_name:
        refuse_another(known.by_name[name], arm.recipe, seed)
    known.new[identity] = name
    return PlannedRun(arm, seed, name, None, (place,))
