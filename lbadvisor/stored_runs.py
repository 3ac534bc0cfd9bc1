"""Stored runs renamed and deleted, with what lies beside the database; never while a process trains them."""

import shutil

from lbadvisor.advisor.records import Run
from lbadvisor.errors import StoreError
from lbadvisor.store import Store
from lbadvisor.store.run_folder import checkpoint_folder, only_process


def rename_run(store: Store, run: Run, name: str) -> None:
    """Give the run another name; its checkpoints stay its own. Raises `RefusedError` while a process trains it."""
    folder = checkpoint_folder(store.path, run)
    if not folder.exists():
        store.rename_run(run.number, name)
        return
    with only_process(folder, run.name):
        store.rename_run(run.number, name)


def delete_run(store: Store, run: Run) -> None:
    """Take the run out of the database, then its checkpoints off the disk.

    Raises `RefusedError` while a process trains it, and `StoreError` where the checkpoints cannot be deleted.
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
