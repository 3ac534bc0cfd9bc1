"""Renames, prunes and deletes stored runs and their files beside the database; never while a process trains them."""

import shutil
from collections.abc import Sequence

from lbadvisor.errors import StoreError
from lbadvisor.records.run import Run, RunStatus
from lbadvisor.store import Store
from lbadvisor.store.run_folder import error_of_training, only_process
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints, prune_checkpoints


def rename_run(store: Store, run: Run, name: str) -> None:
    """Give the run another name; its checkpoints stay its own. Raises `InTrainingError` while a process trains it."""
    folder = store.checkpoint_folder(run)
    if not folder.exists():
        store.rename_run(run.number, name)
        return
    with only_process(folder, run.name):
        store.rename_run(run.number, name)


def refuse_in_training(runs: Sequence[Run]) -> None:
    """Raises `InTrainingError` if a process trains one of the runs: before any of them is deleted."""
    for run in runs:
        if run.status is RunStatus.RUNNING:
            raise error_of_training(run.name)


def prune_run(store: Store, run: Run) -> int:
    """Delete the checkpoints of the run, keep its results; the bytes that are freed.

    Raises `InTrainingError` while a process trains it, and `CheckpointError` if they cannot be deleted.
    """
    folder = store.checkpoint_folder(run)
    with only_process(folder, run.name):
        return prune_checkpoints(folder)


def checkpoint_bytes(store: Store, run: Run) -> int:
    """What the run's checkpoints take on the disk."""
    return sum(path.stat().st_size for path in checkpoints(store.checkpoint_folder(run)))


def delete_run(store: Store, run: Run) -> None:
    """Delete the run from the database, then its checkpoints from disk.

    Raises `InTrainingError` while a process trains it, and `StoreError` if the checkpoints cannot be deleted.
    """
    folder = store.checkpoint_folder(run)
    if not folder.exists():
        store.delete_run(run.number)
        return
    with only_process(folder, run.name):
        store.delete_run(run.number)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise StoreError(
            f"the run {run.name} is deleted, but its checkpoints in {folder} are not: {error.strerror or error}"
        ) from error
