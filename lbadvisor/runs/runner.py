"""A run: one training of one recipe with one seed, stored as it proceeds and resumed where it stopped."""

from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from lbadvisor.errors import StoreError
from lbadvisor.plan.plan import Plan, plan_json
from lbadvisor.recipe.catalog import network_facts
from lbadvisor.recipe.identity import with_cadence_of
from lbadvisor.recipe.recipe import Recipe, differing_fields
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.records.run import Environment, Guarantee, Run, RunStatus
from lbadvisor.runs.recording import Progress, recorded
from lbadvisor.runs.reuse import has_runs, refuse_another
from lbadvisor.store import Store
from lbadvisor.store.run_folder import already_trained, checkpoint_folder, only_process
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints, clear_parts, header_of, newest_sound
from lbadvisor.training.data.dataset import Dataset, Preparing
from lbadvisor.training.data.preparation import preparing
from lbadvisor.training.environment import (
    chosen_device,
    departures,
    environment_of,
    make_deterministic,
    threads_kept,
)
from lbadvisor.training.memory import largest_micro_size
from lbadvisor.training.micro_batches import check_micro_size, has_batch_norm
from lbadvisor.training.precision import check_compute
from lbadvisor.training.state import TrainState, load_checkpoint, start_state

__all__ = ["Progress", "RunRequest", "Started", "checkpoint_folder", "chosen_device", "find_earlier", "train_run"]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What to train: a recipe, the plan that made it (if one did), a seed; under which name; where everything is.

    `micro` is the size of the micro-batches in examples, `auto` for the largest that fits into a GPU's memory, None for
    what the run had before, and at first the batch in one piece. Raises `UsageError` if the device cannot compute
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
        facts = network_facts(self.recipe.model.name)
        if isinstance(self.micro, int) and facts is not None:
            check_micro_size(self.recipe, self.micro, has_batch_norm=facts.batch_norm)


@dataclass(frozen=True, slots=True)
class Started:
    """The first event of a run: the run, at which update training begins, and what the user should know of it."""

    run: Run
    update: int
    notes: tuple[str, ...]


def find_earlier(request: RunRequest) -> Run | None:
    """The stored run of the request's name, if there is one. Creates nothing.

    Raises `RefusedError` if it is another training, naming the fields that differ.
    """
    if not has_runs(request.database):
        return None
    with Store.open(request.database, create=False) as store:
        run = store.find_run(request.name)
    if run is not None:
        refuse_another(run, request.recipe, request.seed)
    return run


def resume_point(database: Path, run: Run) -> tuple[int | None, list[str]]:
    """The update from which the run would be resumed, None if from its start; what there is to say. Changes nothing.

    Raises what resuming it would: `RefusedError` while another process trains it, and what `newest_sound` raises.
    """
    if run.status is RunStatus.RUNNING:
        raise already_trained(run.name)
    folder = checkpoint_folder(database, run)
    header, damaged = newest_sound(folder, run, lambda path: header_of(path, run))
    return None if header is None else header.update, _passed_over(damaged)


def train_run(request: RunRequest, dataset: Dataset | None = None) -> Generator[Preparing | Started | Progress]:
    """Train the request's run to its end, from its last checkpoint if it has one; yields after every update.

    While data set and network are prepared it yields how far that is: closed there, nothing of the run was begun.
    `dataset` is the recipe's own, prepared already.

    Closing the iterator between two updates stops the run: its state is saved and the same request resumes from
    there, bit for bit. Nothing is stored before the data are loaded and the network is built. Raises the errors of
    `errors.py`; a loss that is not finite ends the run as diverged. KeyboardInterrupt, raised anywhere within, leaves
    the last checkpoint as it is.
    """
    earlier = find_earlier(request)
    recipe = in_updates(request.recipe) if earlier is None else earlier.recipe
    make_deterministic(request.device)
    if dataset is None:
        dataset = yield from preparing(recipe, request.data_dir, request.device)
        yield Preparing(f"building {recipe.model.name}")
    micro_size = _micro_size(recipe, request, dataset, earlier)
    state = _built(recipe, request, dataset)
    if micro_size is not None:
        check_micro_size(recipe, micro_size, has_batch_norm=has_batch_norm(state.model))
        state.micro_size = micro_size
    environment = environment_of(request.device)
    with Store.open(request.database, create=True) as store:
        run, is_new = _found_or_added(store, recipe, request, environment)
        folder = checkpoint_folder(request.database, run)
        with only_process(folder, run.name):
            clear_parts(folder)
            saved_update, notes = (None, []) if is_new else _resumed(folder, run, state)
            other_micro, micro_notes = _micro_notes(state, micro_size)
            notes += micro_notes
            losses: list[float] = []
            if not is_new:
                store.discard_after(run.number, state.update)
                run, cadence_notes = _with_cadence(store, run, request.recipe)
                notes += cadence_notes
                if saved_update is not None and not cadence_notes:
                    losses = [m.loss for m in store.measurements(run.number)]
                reasons = _departures(run, environment, state)
                if reasons:
                    notes.append(
                        f"resuming in a different environment ({'; '.join(reasons)}): the order of examples is the "
                        "same, but the bits are not"
                    )
                if reasons or other_micro:
                    run = replace(run, guarantee=Guarantee.SAME_ORDER)
                    store.set_guarantee(run.number, Guarantee.SAME_ORDER)
            state.recipe = run.recipe
            store.set_sums(run.number, state.threads, state.micro_size)
            store.set_status(run.number, RunStatus.RUNNING, None, resumed=saved_update is not None)
            yield Started(run, state.update, tuple(notes))
            yield from recorded(store, run, state, dataset, folder, saved_update, losses)


def _built(recipe: Recipe, request: RunRequest, dataset: Dataset) -> TrainState:
    return start_state(recipe, request.seed, dataset.shape, dataset.classes, request.device)


def _micro_size(recipe: Recipe, request: RunRequest, dataset: Dataset, earlier: Run | None) -> int | None:
    """The requested size; for `auto` the one that fits; None if the run is resumed, which keeps its own."""
    if request.micro != "auto":
        return request.micro
    gone_on = earlier is not None and bool(checkpoints(checkpoint_folder(request.database, earlier)))
    if gone_on or request.device.type != "cuda":
        # A CPU's memory is the machine's: it swaps, and its limit is unknown.
        return None
    return largest_micro_size(partial(_built, recipe, request, dataset), dataset)


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


def _with_cadence(store: Store, run: Run, recipe: Recipe) -> tuple[Run, list[str]]:
    """Measure and save the run as often as `recipe` says; returns notes about it."""
    new = with_cadence_of(run.recipe, recipe)
    differing = differing_fields(in_updates(run.recipe), new)
    changed = [
        f"{field} {after} (before: {'none' if before is None else before})" for field, before, after in differing
    ]
    if not changed:
        return run, []
    store.set_recipe(run.number, new)
    return replace(run, recipe=new), [f"from now on {', '.join(changed)}"]


def _departures(run: Run, environment: Environment, state: TrainState) -> list[str]:
    """Why the bits will differ from those of an uninterrupted run."""
    reasons = departures(run.environment, environment)
    if not threads_kept(state.threads):
        reasons.append(f"threads: {state.threads} there, fewer here")
    return reasons


def _found_or_added(store: Store, recipe: Recipe, request: RunRequest, environment: Environment) -> tuple[Run, bool]:
    """The run of the request's name, and whether it is new: another process may have begun it by now."""
    found = find_earlier(request)
    if found is not None:
        return found, False
    plan = request.plan
    plan_number = None if plan is None else store.add_plan(plan_json(plan), plan.baseline, plan.adapted)
    updates = recipe.schedule.updates
    if updates is None:
        raise ValueError("the recipe is not in updates")
    guarantee = Guarantee.BIT_EXACT
    try:
        return store.add_run(request.name, recipe, request.seed, updates, environment, plan_number, guarantee), True
    except StoreError:
        found = find_earlier(request)
        if found is None:
            raise
        return found, False


def _resumed(folder: Path, run: Run, state: TrainState) -> tuple[int | None, list[str]]:
    """Load the newest sound checkpoint into `state`: its update, None if there is none yet; what there is to say.

    Raises what `newest_sound` raises.
    """
    notes: list[str] = []
    if run.status is RunStatus.DIVERGED:
        notes.append(
            f"the run had diverged by update {run.update}; it resumes from its last sound state, and diverges again "
            "unless the hardware was at fault"
        )
    header, damaged = newest_sound(folder, run, lambda path: load_checkpoint(path, state))
    notes += _passed_over(damaged)
    return None if header is None else header.update, notes


def _passed_over(damaged: list[str]) -> list[str]:
    return [f"{what}: resuming from the previous one" for what in damaged]
