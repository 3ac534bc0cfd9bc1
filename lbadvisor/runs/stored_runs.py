"""Renames, prunes and deletes stored runs and their files beside the database; never while a process trains them."""

import shutil
from collections.abc import Sequence

from lbadvisor.errors import StoreError
from lbadvisor.records.run import Run, RunStatus
from lbadvisor.store import Store
from lbadvisor.store.run_folder import error_of_training
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints, prune_checkpoints


def rename_run(store: Store, run: Run, name: str) -> None:
    """Give the run another name; its checkpoints stay its own. Raises `InTrainingError` while a process trains it."""
    lock = store.only_process if store.checkpoint_folder(run).exists() else store.locked
    with lock(run):
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
    with store.only_process(run):
        return prune_checkpoints(store.checkpoint_folder(run))


def checkpoint_bytes(store: Store, run: Run) -> int:
    """What the run's checkpoints take on the disk."""
    return sum(path.stat().st_size for path in checkpoints(store.checkpoint_folder(run)))


def delete_run(store: Store, run: Run) -> None:
    """Delete the run from the database, then its checkpoints from disk.

    Raises `InTrainingError` while a process trains it, and `StoreError` if the checkpoints cannot be deleted.
    """
    folder = store.checkpoint_folder(run)
    has_folder = folder.exists()
    with (store.only_process if has_folder else store.locked)(run):
        store.delete_run(run.number)
    if not has_folder:
        return
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise StoreError(
            f"the run {run.name} is deleted, but its checkpoints in {folder} are not: {error.strerror or error}"
        ) from error
