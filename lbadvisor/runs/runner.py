"""A run: one training of one recipe with one seed, stored as it proceeds and resumed where it stopped."""

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from lbadvisor.batch_cuts import ranks_for
from lbadvisor.errors import InTrainingError, StoreError
from lbadvisor.planning.batch_division import check_division, is_cut_whole
from lbadvisor.planning.plan import Plan, plan_json
from lbadvisor.recipe.identity import with_cadence_of
from lbadvisor.recipe.recipe import Recipe, differing_fields
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.records.run import Environment, Guarantee, Run, RunStatus, told
from lbadvisor.runs.recording import Progress, recorded
from lbadvisor.runs.reuse import RESULTS, refuse_another
from lbadvisor.runs.workspace import Workspace
from lbadvisor.store import Store
from lbadvisor.store.run_folder import error_of_training
from lbadvisor.training.checkpoints.checkpoint_file import Header, checkpoints, clear_parts, header_of, newest_sound
from lbadvisor.training.cores import has_given_threads, torch_threads_kept
from lbadvisor.training.data.dataset import Dataset, Preparing
from lbadvisor.training.data.own_data import own_draws_note
from lbadvisor.training.data.preparation import preparing
from lbadvisor.training.environment import departures, environment_of, make_deterministic, threads_kept, unused_gpus
from lbadvisor.training.machine import Machine
from lbadvisor.training.micro_batches import whole_batch
from lbadvisor.training.own_buffers import own_buffers_note
from lbadvisor.training.spanning_ghosts import spanning_note
from lbadvisor.training.state import TrainState, load_checkpoint, most_threads, threads_of

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
    state.micro_size, state.ranks = micro_size, machine.ranks
    environment = environment_of(machine.device)
    own_code_notes = list(filter(None, [own_draws_note(dataset), own_buffers_note(state)]))
    guarantee = Guarantee.SAME_ORDER if own_code_notes else Guarantee.BIT_EXACT
    run, is_new = _found_or_added(store, recipe, request, environment, guarantee)
    folder = store.checkpoint_folder(run)
    with store.only_process(run), torch_threads_kept():
        _refuse_if_just_ended(store, run, earlier)
        clear_parts(folder)
        header, notes = (None, []) if is_new else _resumed(folder, run, state)
        is_another, how_notes = _how_notes(workspace, run, state, header, micro_size)
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


def _how_notes(
    workspace: Workspace, run: Run, state: TrainState, header: Header | None, micro_size: int | None
) -> tuple[bool, list[str]]:
    """Divide the sums over ranks, threads and micro-batches; whether it is done otherwise than before, and notes."""
    other_shares, share_notes = _share_notes(workspace.machine, state, header)
    thread_notes = _thread_notes(workspace, run, state, begins=header is None or other_shares)
    other_micro, micro_notes = _micro_notes(state, micro_size)
    return other_shares or other_micro, share_notes + thread_notes + micro_notes


def _refuse_if_just_ended(store: Store, run: Run, earlier: Run | None) -> None:
    """Raise `InTrainingError` if another process took the run and trained it to its end since `earlier` was read."""
    now = store.run(run.name)
    if now.status in (RunStatus.FAILED, *RESULTS) and now.changed_at != (earlier and earlier.changed_at):
        raise InTrainingError(f"another process has just trained the run {run.name}, {now.status}: repeat the command")


def _thread_notes(workspace: Workspace, run: Run, state: TrainState, *, begins: bool) -> list[str]:
    """Divide the cores by the processes that train for the database, if the run begins; returns notes about it.

    The jobs of one command divide them by their number, whether or not each of them trains by now.
    """
    given = workspace.machine.threads
    if not begins and given not in (None, state.threads):
        return [f"keeps its {state.threads} CPU threads, which decide its bits: --threads {given} is for new runs"]
    if not begins or given is not None or has_given_threads() or workspace.machine.device.type != "cpu":
        return []
    if workspace.sitting.jobs > 1:
        state.threads = max(1, state.threads // workspace.sitting.jobs)
        return []
    others = sum(other.number != run.number for other in workspace.store.runs(RunStatus.RUNNING))
    before, state.threads = state.threads, max(1, state.threads // (1 + others))
    if state.threads == before:
        return []
    train = "another process trains" if others == 1 else f"{others} other processes train"
    return [f"uses {state.threads} of {before} CPU threads, as {train} for this database too: --threads overrides it"]


def _micro_size(
    workspace: Workspace, build: Callable[[], TrainState], dataset: Dataset, earlier: Run | None
) -> int | None:
    """The size asked for; of `auto` the one that fits, and None if the run is resumed: it keeps the one it has."""
    machine = workspace.machine
    resumed = earlier is not None and bool(checkpoints(workspace.store.checkpoint_folder(earlier)))
    return None if machine.micro == "auto" and resumed else machine.micro_size(build, dataset)


def _micro_notes(state: TrainState, micro_size: int | None) -> tuple[bool, list[str]]:
    """Give `state` the requested size; returns whether its checkpoint had another one, and notes about it."""
    before, size = state.micro_size or state.recipe.batch.size, micro_size or state.micro_size
    state.micro_size = size
    if state.update and micro_size is not None and micro_size != before:
        how = f"the run used micro-batches of {before} and resumes with {micro_size}"
        return True, [f"{how}: equal up to rounding, not bit for bit"]
    if size is not None and size < state.recipe.batch.size:
        return False, [f"each update uses micro-batches of {size}"]
    return False, []


def _share_notes(machine: Machine, state: TrainState, header: Header | None) -> tuple[bool, list[str]]:
    """Give each rank its shares; whether they, or the threads, are others than those it was saved by, and notes."""
    ranks, before = machine.ranks, None if header is None else header.shares or header.ranks
    shares = machine.shares or (None if before is None else _shares_kept(ranks.size, state, before)) or ranks.size
    state.ranks = replace(ranks, cut_into=shares)
    notes = list(filter(None, [_how_divided(ranks.size, shares), spanning_note(state)]))
    if header is None or before is None or (header.ranks, before) == (ranks.size, shares):
        return False, notes
    if machine.threads is not None:
        state.threads = machine.threads
    elif header.threads > most_threads(ranks):
        state.threads = threads_of(state.parameters, ranks)
    saved, on_cpu = f"saved by {_in_shares(header.ranks, before)}, resumed", state.interval.device.type == "cpu"
    if shares != before or (on_cpu and state.threads != header.threads):
        return True, [*notes, f"{saved} by {_in_shares(ranks.size, shares)}: equal up to rounding, not bit for bit"]
    threads = f", on {_counted(state.threads, 'CPU thread')} each as before" if on_cpu else ""
    return False, [*notes, f"{saved} by {_counted(ranks.size, 'rank')} in the same shares{threads}: bit for bit"]


def _shares_kept(ranks: int, state: TrainState, before: int) -> int | None:
    """The shares of each update so far, if these ranks can train them."""
    batch = whole_batch(state.recipe, state.model)
    return before if ranks in ranks_for(before) and (before == ranks or is_cut_whole(batch, before)) else None


def _how_divided(ranks: int, shares: int) -> str | None:
    if ranks == 1:
        return f"each update is computed in {shares} shares, one after the other" if shares > 1 else None
    each = "a share" if shares == ranks else f"{shares // ranks} of {shares} shares"
    return f"{ranks} ranks train it, each {each} of every update"


def _in_shares(ranks: int, shares: int) -> str:
    return _counted(ranks, "rank") + (f" in {_counted(shares, 'share')}" if shares != ranks else "")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count > 1)}"


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
