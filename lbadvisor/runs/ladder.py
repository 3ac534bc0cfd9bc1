"""Ladders: the arms of the paper's table, each trained over seeds, by one process or several.

Several ladders of one baseline, each to its own target batch size, are a sweep: they share the baseline's runs.
"""

import contextlib
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lbadvisor.errors import OF_EVERY_RUN, DivergedError, InTrainingError, LbadvisorError, as_ours
from lbadvisor.planning.planned_arms import LadderRequest
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.records.run import Run, RunStatus
from lbadvisor.runs.ladder_runs import PlannedRun, planned_runs
from lbadvisor.runs.runner import Progress, RunRequest, Started, train_run
from lbadvisor.runs.workspace import Sitting, Workspace
from lbadvisor.store import Store
from lbadvisor.training.data.dataset import Dataset, Preparing

POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class RunBegins:
    """A run of the ladder starts or resumes."""

    planned: PlannedRun
    started: Started

    @property
    def event(self) -> Started:
        """The run's own event."""
        return self.started


@dataclass(frozen=True, slots=True)
class RunEnds:
    """A run of the ladder has its result, `run`; `was_there` if this process did not train it."""

    planned: PlannedRun
    run: Run
    was_there: bool


@dataclass(frozen=True, slots=True)
class RunFails:
    """A run of the ladder failed here: the others are trained all the same."""

    planned: PlannedRun
    error: LbadvisorError


@dataclass(frozen=True, slots=True)
class Waits:
    """Other processes train the remaining `runs`: wait for them, and take over if those processes die."""

    runs: int


RunEvents = Generator[Preparing | RunBegins | Progress | RunEnds | RunFails | Waits]
"""What training runs of ladders yields."""


def train_ladder(workspace: Workspace, *requests: LadderRequest) -> RunEvents:
    """Train what the ladders of one baseline lack, one run after the other; yields after every update.

    Several processes may train one ladder: each takes the next run that has no result and that no living process
    trains, and waits for the rest; a run that a process left behind is resumed. The data set is prepared once, and not
    at all if every run has its result. A run that diverges is a result, and the ladder continues; also past a run that
    fails, which is tried again in the next sitting. Closing the iterator between two updates stops it: the run in
    training is saved, and the same requests resume it. Nothing is stored before the data are loaded. Raises the errors
    of `errors.py`.
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
        dataset = yield from machine.prepare(in_updates(requests[0].baseline))
    ladders = {
        request.name: store.add_ladder(request.name, in_updates(request.baseline), request.target_batch_size).number
        for request in requests
    }
    left = [one.places for one in runs]
    while left:
        runs = planned_runs(store, *requests)
        of_left = [run for run in runs if any(run.places[0] in places for places in left)]
        planned = _next(store, of_left, workspace.sitting)
        if planned is None:
            if not any(_is_running(run) for run in runs):
                return  # what is left has failed, or follows what has
            # Told each time, so that a stop is heard.
            yield Waits(len(left))
            time.sleep(POLL_SECONDS)
            continue
        if dataset is not None and not planned.is_done:
            try:
                yield from _trained(workspace, planned, dataset, ladders)
            except InTrainingError:
                continue  # another process took it at the same moment
            except Exception as error:
                # The other ranks of a run that failed still train it.
                if isinstance(error, OF_EVERY_RUN) or machine.ranks.are_several:
                    raise
                left = [places for places in left if planned.places[0] not in places]
                yield RunFails(planned, as_ours(error))
                continue
        elif planned.run is not None:
            _add_to_ladders(store, planned, planned.run, ladders)
        left = [places for places in left if planned.places[0] not in places]
        ended = store.find_run(planned.name)
        if ended is not None:
            yield RunEnds(planned, ended, planned.is_done)


def failure_of(failed: Mapping[str, LbadvisorError]) -> LbadvisorError:
    """The error for runs that failed, by their names: equal messages once. The first of them is its cause."""
    names: dict[str, list[str]] = {}
    for name, error in failed.items():
        names.setdefault(str(error), []).append(name)
    what = "1 run failed" if len(failed) == 1 else f"{len(failed)} runs failed"
    said = (f"{', '.join(own)}: {message}" for message, own in names.items())
    error = LbadvisorError("\n  ".join([f"{what}; the same command tries again:", *said]))
    error.__cause__ = next(iter(failed.values()))
    return error


def _next(store: Store, left: Sequence[PlannedRun], sitting: Sitting) -> PlannedRun | None:
    """Of the runs that are `left` the first that has its result, or that can be trained now.

    Jobs that look at one moment do not meet at the first: each leaves one to each before it that is not training yet.
    """
    free = [planned for planned in left if planned.is_done or _is_free(planned, sitting)]
    if not free or free[0].is_done:
        return free[0] if free else None
    ahead = sitting.job - sum(_is_running(planned) for planned in left)
    chosen = [planned for planned in free if not planned.is_done][: max(0, ahead) + 1][-1]
    # What seemed interrupted may have ended between the look at its row and that at its lock.
    return chosen if chosen.run is None else replace(chosen, run=store.run(str(chosen.run.number)))


def _is_free(planned: PlannedRun, sitting: Sitting) -> bool:
    """Whether it can be trained now; what failed in this sitting is left for the next one."""
    run = planned.run
    failed = run is not None and run.status is RunStatus.FAILED and run.changed_at >= sitting.began
    return not (planned.arm.awaits_distances or _is_running(planned) or failed)


def _is_running(planned: PlannedRun) -> bool:
    return planned.run is not None and planned.run.status is RunStatus.RUNNING


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
