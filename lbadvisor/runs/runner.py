"""A run: one training of one recipe with one seed, stored as it proceeds and resumed where it stopped."""

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from lbadvisor.errors import InTrainingError, StoreError
from lbadvisor.planning.batch_division import check_division
from lbadvisor.planning.plan import Plan, plan_json
from lbadvisor.recipe.identity import with_cadence_of
from lbadvisor.recipe.recipe import Recipe, differing_fields
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.records.run import Environment, Guarantee, Run, RunStatus, told
from lbadvisor.runs.divided_sums import divide_sums
from lbadvisor.runs.recording import Progress, recorded
from lbadvisor.runs.reuse import RESULTS, refuse_another
from lbadvisor.runs.workspace import Workspace
from lbadvisor.store import Store
from lbadvisor.store.run_folder import error_of_training
from lbadvisor.training.checkpoints.checkpoint_file import Header, checkpoints, clear_parts, header_of, newest_sound
from lbadvisor.training.cores import torch_threads_kept
from lbadvisor.training.data.dataset import Dataset, Preparing
from lbadvisor.training.data.own_data import own_draws_note
from lbadvisor.training.data.preparation import preparing
from lbadvisor.training.environment import departures, environment_of, make_deterministic, threads_kept, unused_gpus
from lbadvisor.training.micro_batches import whole_batch
from lbadvisor.training.own_buffers import own_buffers_note
from lbadvisor.training.state import TrainState, load_checkpoint

__all__ = ["Progress", "RunRequest", "Started", "find_earlier", "resume_point", "train_run"]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to train: a recipe, the plan that made it if one did, and a seed; under which name."""

    recipe: Recipe
    plan: Plan | None
    name: str
    seed: int


@dataclass(frozen=True, slots=True)
class Started:
    """The first event of a run: the run, at which update training begins, and what the user should know of it."""

    run: Run
    update: int
    notes: tuple[str, ...]


def find_earlier(store: Store, request: RunRequest) -> Run | None:
    """The stored run of the request's name, if there is one. Creates nothing.

    Raises `RefusedError` if it is another training, naming the fields that differ.
    """
    run = store.find_run(request.name)
    if run is not None:
        refuse_another(run, request.recipe, request.seed)
    return run


def resume_point(store: Store, run: Run) -> tuple[int | None, list[str]]:
    """The update from which the run would be resumed, None if from its start; what there is to say. Changes nothing.

    Raises what resuming it would: `RefusedError` while another process trains it, and what `newest_sound` raises.
    """
    if run.status is RunStatus.RUNNING:
        raise error_of_training(run.name)
    folder = store.checkpoint_folder(run)
    header, damaged = newest_sound(folder, run, lambda path: header_of(path, run))
    return None if header is None else header.update, _passed_over(damaged)


def train_run(
    workspace: Workspace, request: RunRequest, dataset: Dataset | None = None
) -> Generator[Preparing | Started | Progress]:
    """Train the request's run to its end, from its last checkpoint if it has one; yields after every update.

    While data set and network are prepared it yields how far that is: closed there, nothing of the run was begun.
    `dataset` is the recipe's own, prepared already.

    Closing the iterator between two updates stops the run: its state is saved and the same request resumes from
    there, bit for bit. Nothing is stored before the data are loaded and the network is built. Raises the errors of
    `errors.py`; a loss that is not finite ends the run as diverged. KeyboardInterrupt, raised anywhere within, leaves
    the last checkpoint as it is.
    """
    store, machine = workspace.store, workspace.machine
    machine.check(request.recipe)
    earlier = find_earlier(store, request)
    recipe = in_updates(request.recipe) if earlier is None else earlier.recipe
    make_deterministic(machine.device)
    if dataset is None:
        dataset = yield from preparing(recipe, machine.data_dir, machine.device, code=machine.code)
        yield Preparing(f"building {recipe.model.name}")
    build = partial(machine.start, recipe, request.seed, dataset)
    micro_size = _micro_size(workspace, build, dataset, earlier)
    state = build()
    check_division(whole_batch(recipe, state.model), machine.ranks.size, micro_size, machine.shares)
    state.micro_size, state.ranks = micro_size, replace(machine.ranks, cut_into=machine.shares)
    environment = environment_of(machine.device)
    own_code_notes = list(filter(None, [own_draws_note(dataset), own_buffers_note(state)]))
    guarantee = Guarantee.SAME_ORDER if own_code_notes else Guarantee.BIT_EXACT
    run, is_new = _found_or_added(store, recipe, request, environment, guarantee)
    folder = store.checkpoint_folder(run)
    with store.only_process(run), torch_threads_kept():
        _refuse_if_just_ended(store, run, earlier)
        clear_parts(folder)
        header, notes = (None, []) if is_new else _resumed(folder, run, state)
        is_another, how_notes = divide_sums(workspace, run, state, header, micro_size)
        notes += how_notes
        losses: list[float] = []
        if not is_new:
            store.discard_after(run.number, state.update)
            run, cadence_notes = _with_cadence(store, _with_length(store, run, state), request.recipe)
            notes += cadence_notes
            if header is not None and not cadence_notes:
                losses = [told(m.loss) for m in store.measurements(run.number)]
            departed = _departure_notes(run, environment, state, header)
            notes += departed
            if departed or is_another or own_code_notes:
                run = replace(run, guarantee=Guarantee.SAME_ORDER)
                store.set_guarantee(run.number, Guarantee.SAME_ORDER)
        if workspace.sitting.jobs == 1:
            notes += _machine_notes(state)
        notes += own_code_notes
        state.recipe, ranks = run.recipe, state.ranks
        store.set_sums(run.number, state.threads, state.micro_size, ranks.size, ranks.shares)
        store.set_status(run.number, RunStatus.RUNNING, None, resumed=header is not None)
        with _stopped_if_closed(store, run, state.update):
            yield Started(run, state.update, tuple(notes))
        saved_update = None if header is None else header.update
        yield from recorded(workspace, run, state, dataset, folder, saved_update, losses)


@contextlib.contextmanager
def _stopped_if_closed(store: Store, run: Run, update: int) -> Iterator[None]:
    """While entered, closing the iterator stops the run before its next update: there is nothing new to save."""
    try:
        yield
    except GeneratorExit:
        store.set_status(run.number, RunStatus.STOPPED, f"stopped on request at update {update}")
        raise


def _refuse_if_just_ended(store: Store, run: Run, earlier: Run | None) -> None:
    """Raise `InTrainingError` if another process took the run and trained it to its end since `earlier` was read."""
    now = store.run(run.name)
    if now.status in (RunStatus.FAILED, *RESULTS) and now.changed_at != (earlier and earlier.changed_at):
        raise InTrainingError(f"another process has just trained the run {run.name}, {now.status}: repeat the command")


def _micro_size(
    workspace: Workspace, build: Callable[[], TrainState], dataset: Dataset, earlier: Run | None
) -> int | None:
    """The size asked for; of `auto` the one that fits, and None if the run is resumed: it keeps the one it has."""
    machine = workspace.machine
    resumed = earlier is not None and bool(checkpoints(workspace.store.checkpoint_folder(earlier)))
    return None if machine.micro == "auto" and resumed else machine.micro_size(build, dataset)


def _machine_notes(state: TrainState) -> list[str]:
    """What to know of the machine: GPUs left unused."""
    note = unused_gpus(state.interval.device, torch.cuda.device_count())
    return [] if note is None else [note]


def _with_cadence(store: Store, run: Run, recipe: Recipe) -> tuple[Run, list[str]]:
    """Measure and save the run as often as `recipe` says; returns notes about it."""
    new = with_cadence_of(run.recipe, recipe)
    differing = differing_fields(in_updates(run.recipe), new)
    changed = [
        f"{field} {'none' if after is None else after} (before: {'none' if before is None else before})"
        for field, before, after in differing
    ]
    if not changed:
        return run, []
    store.set_recipe(run.number, new)
    return replace(run, recipe=new), [f"from now on {', '.join(changed)}"]


def _with_length(store: Store, run: Run, state: TrainState) -> Run:
    """The run, ending when its state does: a milestone may have come early after it was saved, and will do so again."""
    if run.updates != state.last_update:
        store.set_updates(run.number, state.last_update)
    return replace(run, updates=state.last_update)


def _departure_notes(run: Run, environment: Environment, state: TrainState, header: Header | None) -> list[str]:
    """Why the bits will, or may, differ from those of an uninterrupted run."""
    reasons = departures(run.environment, environment)
    # A GPU's bits do not depend on the CPU's threads.
    if state.interval.device.type == "cpu" and not threads_kept(state.threads):
        reasons.append(f"threads: {state.threads} there, fewer here")
    notes = []
    if reasons:
        notes = [
            f"resuming in a different environment ({'; '.join(reasons)}): the order of examples is the same, but the "
            "bits are not"
        ]
    before = {} if header is None else header.sources or {}
    changed = [name for name, digest in state.sources.items() if before.get(name, digest) != digest]
    return notes + [
        f"the file that defines {name} has changed since update {state.update} was saved: from here on, the run may be "
        "another training"
        for name in changed
    ]


def _found_or_added(
    store: Store, recipe: Recipe, request: RunRequest, environment: Environment, guarantee: Guarantee
) -> tuple[Run, bool]:
    """The run of the request's name, and whether it is new: another process may have begun it by now."""
    found = find_earlier(store, request)
    if found is not None:
        return found, False
    plan = request.plan
    plan_number = None if plan is None else store.add_plan(plan_json(plan), plan.baseline, plan.adapted)
    updates = recipe.schedule.updates
    if updates is None:
        raise ValueError("the recipe is not in updates")
    try:
        return store.add_run(request.name, recipe, request.seed, updates, environment, plan_number, guarantee), True
    except StoreError:
        found = find_earlier(store, request)
        if found is None:
            raise
        return found, False


def _resumed(folder: Path, run: Run, state: TrainState) -> tuple[Header | None, list[str]]:
    """Load the newest sound checkpoint into `state`: its header, None if there is none yet; what there is to say.

    Raises what `newest_sound` raises.
    """
    notes: list[str] = []
    if run.status is RunStatus.DIVERGED:
        notes.append(
            f"the run had diverged by update {run.update}; it resumes from its last sound state, and diverges again "
            "unless the hardware was at fault"
        )
    header, damaged = newest_sound(folder, run, lambda path: load_checkpoint(path, state))
    return header, notes + _passed_over(damaged)


def _passed_over(damaged: list[str]) -> list[str]:
    return [f"{what}: resuming from the previous one" for what in damaged]
