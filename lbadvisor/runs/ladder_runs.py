"""The runs of ladders: which there are to train, in which order, and what is stored of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lbadvisor.comparison.comparison import Comparison
from lbadvisor.errors import RefusedError
from lbadvisor.planning.distances import distances_of
from lbadvisor.planning.planned_arms import LadderRequest, PlannedArm, with_distances
from lbadvisor.recipe.identity import Identity, differences, identity_of
from lbadvisor.records.run import Ladder, Run, RunStatus
from lbadvisor.runs.reuse import RESULTS, preferred, refuse_another, refuse_differing
from lbadvisor.runs.runner import resume_point
from lbadvisor.runs.selection import Selection, compare_selection
from lbadvisor.store import Store


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


def compare_ladder(store: Store, request: LadderRequest) -> Comparison:
    """The runs that the request asks for, in the order of its arms: the ladder may have further arms and seeds.

    What may be concluded is of the last arm.
    """
    order = [arm.arm.name for arm in request.arms]
    by_arm = sorted(planned_runs(store, request), key=lambda planned: order.index(planned.arm.arm.name))
    found = [(planned.run, planned.arm.arm.label) for planned in by_arm if planned.run is not None]
    selection = Selection(tuple(run for run, _ in found), tuple((run.number, label) for run, label in found))
    return compare_selection(store, selection)


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
    refuse_differing(
        f"the ladder `{ladder.name}` belongs to another training",
        differing,
        "repeat its original options to resume it, or give --name for a new ladder",
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
        refuse_differing(
            f"the ladder `{ladder}` has {member.name} for the arm {arm.arm.name}, which is of another training",
            differences(member.recipe, arm.recipe),
            "repeat the original options, or give --name for a new ladder",
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
