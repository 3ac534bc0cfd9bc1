"""Measures the sharpness of stored runs' minima, at the weights of their last checkpoints."""

from collections.abc import Generator

from lbadvisor.comparison.comparison import RunResult
from lbadvisor.comparison.groups import grouped
from lbadvisor.comparison.results import accuracy_of
from lbadvisor.diagnostics.advance import Advance
from lbadvisor.diagnostics.landscape.landscape import landscape_of, statistics_slices
from lbadvisor.diagnostics.landscape.minima import Minima, Minimum, minima_of
from lbadvisor.diagnostics.landscape.sharpness import largest_eigenvalue, largest_stable_lr, sharpness_percent
from lbadvisor.errors import CheckpointError, UsageError
from lbadvisor.records.run import RunStatus, told
from lbadvisor.runs.selection import Selection
from lbadvisor.store import Store
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints, pruned
from lbadvisor.training.checkpoints.weights import read_weights
from lbadvisor.training.data.dataset import Dataset, Preparing
from lbadvisor.training.machine import Machine
from lbadvisor.training.out_of_memory import naming_memory


def check_minima(store: Store, selection: Selection, examples: int) -> None:
    """Raise the error that stands against probing the runs: of their data, their end, or their checkpoints."""
    if not selection.runs:
        raise UsageError("no run matches: `lbadvisor runs` lists them")
    data = {run.recipe.data.model_copy(update={"augmentation": "none"}) for run in selection.runs}
    if len(data) > 1:
        names = ", ".join(sorted({f"{one.name} ({one.train_examples} examples)" for one in data}))
        raise UsageError(f"the runs train on different examples, {names}: probe those of one data set")
    for run in selection.runs:
        if run.status is RunStatus.DIVERGED:
            raise UsageError(
                f"the run {run.name} diverged and has no minimum: leave it out with --where status!=diverged"
            )
        folder = store.checkpoint_folder(run)
        if not checkpoints(folder):
            absent = f"the run {run.name} has no checkpoint: `lbadvisor resume {run.name}`"
            raise CheckpointError(pruned(folder, run) or absent)
        statistics_slices(run.recipe, run.recipe.data.train_examples, examples)


def probe_minima(
    store: Store, machine: Machine, selection: Selection, examples: int, epsilon: float
) -> Generator[Preparing | Advance, None, Minima]:
    """Measure the minimum of every selected run on the same examples; stores nothing.

    Raises what `check_minima` raises, and the errors of `errors.py`.
    """
    check_minima(store, selection, examples)
    dataset = yield from machine.prepare(selection.runs[0].recipe)
    count = len(selection.runs)
    minima: list[Minimum] = []
    for arm, results in grouped(store.results_of([run.number for run in selection.runs]), selection.labels):
        for result in results:
            yield Advance("probing", len(minima), count, "runs", result.run.name)
            minima.append(_minimum(store, machine, dataset, result, arm, examples, epsilon))
    yield Advance("probing", count, count, "runs")
    return minima_of(examples, epsilon, minima)


def _minimum(
    store: Store, machine: Machine, dataset: Dataset, result: RunResult, arm: str, examples: int, epsilon: float
) -> Minimum:
    run = result.run
    weights = read_weights(store.checkpoint_folder(run), run, None, machine.code)
    state = machine.start(run.recipe, run.seed, dataset)
    state.model.load_state_dict(weights.tensors)
    landscape = landscape_of(state, dataset, examples)
    with naming_memory(landscape.too_large):
        sharpness = sharpness_percent(landscape, epsilon)
        eigenvalue = largest_eigenvalue(landscape)
        loss = landscape.loss(landscape.weights_P)
    rates = [told(m.lr) for m in store.measurements(run.number) if m.update <= weights.update]
    if not rates:
        raise UsageError(f"the run {run.name} was not measured up to update {weights.update}: resume it")
    return Minimum(
        run=run.name,
        arm=arm,
        seed=run.seed,
        batch_size=run.recipe.batch.size,
        update=weights.update,
        averaged=weights.which == "averaged",
        normalized_over=landscape.normalized_over,
        loss=loss,
        sharpness_percent=sharpness,
        largest_eigenvalue=eigenvalue,
        final_lr=rates[-1],
        largest_lr=max(rates),
        stable_lr=largest_stable_lr(run.recipe.optimizer, eigenvalue),
        accuracy_percent=accuracy_of(result),
    )
