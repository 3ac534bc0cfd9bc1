"""Stored runs renamed and deleted, with what lies beside the database; never while a process trains them."""

import shutil
from collections.abc import Sequence

from lbadvisor.advisor.records import Run
from lbadvisor.errors import InTrainingError, StoreError
from lbadvisor.store import Store
from lbadvisor.training.checkpoint_file import checkpoint_folder
from lbadvisor.training.run_lock import is_in_training, only_process


def rename_run(store: Store, run: Run, name: str) -> None:
    """Give the run another name; its checkpoints stay its own. Raises `InTrainingError` while a process trains it."""
    folder = checkpoint_folder(store.path, run)
    if not folder.exists():
        store.rename_run(run.number, name)
        return
    with only_process(folder, run.name):
        store.rename_run(run.number, name)


def refuse_in_training(store: Store, runs: Sequence[Run]) -> None:
    """Raises `InTrainingError` if a process trains one of the runs: before any of them is deleted."""
    for run in runs:
        if is_in_training(checkpoint_folder(store.path, run)):
            raise InTrainingError(f"another process is training the run {run.name}: wait for it, or stop it")


def delete_run(store: Store, run: Run) -> None:
    """Take the run out of the database, then its checkpoints off the disk.

    Raises `InTrainingError` while a process trains it, and `StoreError` where the checkpoints cannot be deleted.
    """
    folder = checkpoint_folder(store.path, run)
    if not folder.exists():
        store.delete_run(run.number)
        return
    with only_process(folder, run.name):
        store.delete_run(run.number)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise StoreError(
            f"the run {run.name} is deleted, its checkpoints in {folder} are not: {error.strerror or error}"
        ) from error
