"""Measures the test set once, when a run is complete."""

from pathlib import Path

import torch

from lbadvisor.errors import CheckpointError, UsageError
from lbadvisor.records.run import Run, RunStatus
from lbadvisor.runs.runner import checkpoint_folder
from lbadvisor.store import Store
from lbadvisor.training.checkpoints.checkpoint_file import pruned
from lbadvisor.training.data.preparation import load_dataset
from lbadvisor.training.loop import evaluate
from lbadvisor.training.state import checkpoints, load_checkpoint, start_state


def test_accuracy(database: Path, name: str, data_dir: Path, device: torch.device) -> float:
    """The accuracy in percent that the complete run of that name reaches on the test set; measured once, and stored.

    Raises `CheckpointError` if its last checkpoint is gone, and `UsageError` for a run that is not complete or was
    evaluated on the test set all along.
    """
    with Store.open(database, create=False) as store:
        run = store.run(name)
        if run.test_accuracy_percent is not None:
            return run.test_accuracy_percent
        if run.status is not RunStatus.COMPLETE or run.recipe.data.validation_examples is None:
            raise UsageError(f"the run {name} is not complete, or did not hold out validation examples")
        loss, accuracy = _measured(run, checkpoint_folder(database, run), data_dir, device)
        store.set_test(run.number, loss, accuracy)
    return accuracy


test_accuracy.__test__ = False  # type: ignore[attr-defined]  # no test of pytest's


def _measured(run: Run, folder: Path, data_dir: Path, device: torch.device) -> tuple[float, float]:
    dataset = load_dataset(run.recipe, data_dir, device)
    state = start_state(run.recipe, run.seed, dataset.shape, dataset.classes, device)
    found = checkpoints(folder)
    if not found:
        gone = pruned(folder, run) or f"the run {run.name} has no checkpoint left in {folder}"
        raise CheckpointError(f"the test set cannot be measured: {gone}")
    load_checkpoint(found[0], state)
    if state.update != run.updates:
        raise CheckpointError(f"the run {run.name} has no final checkpoint in {folder}")
    return evaluate(state, dataset, test=True)
