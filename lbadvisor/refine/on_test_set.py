"""Measures the test set once, when a run is complete."""

from lbadvisor.errors import CheckpointError, UsageError
from lbadvisor.records.run import Run, RunStatus
from lbadvisor.runs.workspace import Workspace
from lbadvisor.training.checkpoints.checkpoint_file import pruned
from lbadvisor.training.data.preparation import load_dataset
from lbadvisor.training.evaluation import evaluate
from lbadvisor.training.state import checkpoints, load_checkpoint


def test_accuracy(workspace: Workspace, name: str) -> float:
    """The accuracy in percent that the complete run of that name reaches on the test set; measured once, and stored.

    Raises `CheckpointError` if its last checkpoint is gone, and `UsageError` for a run that is not complete or was
    evaluated on the test set all along.
    """
    run = workspace.store.run(name)
    if run.test_accuracy_percent is not None:
        return run.test_accuracy_percent
    if run.status is not RunStatus.COMPLETE or run.recipe.data.validation_examples is None:
        raise UsageError(f"the run {name} is not complete, or did not hold out validation examples")
    loss, accuracy = _measured(workspace, run)
    if accuracy is None:
        raise UsageError(f"the run {name} is a regression, which has no accuracy")
    workspace.store.set_test(run.number, loss, accuracy)
    return accuracy


test_accuracy.__test__ = False  # type: ignore[attr-defined]  # no test of pytest's


def _measured(workspace: Workspace, run: Run) -> tuple[float, float | None]:
    machine, folder = workspace.machine, workspace.store.checkpoint_folder(run)
    dataset = load_dataset(run.recipe, machine.data_dir, machine.device, machine.code)
    state = machine.start(run.recipe, run.seed, dataset)
    found = checkpoints(folder)
    if not found:
        gone = pruned(folder, run) or f"the run {run.name} has no checkpoint left in {folder}"
        raise CheckpointError(f"the test set cannot be measured: {gone}")
    load_checkpoint(found[0], state)
    if state.update != run.updates:
        raise CheckpointError(f"the run {run.name} has no final checkpoint in {folder}")
    return evaluate(state, dataset, test=True)
