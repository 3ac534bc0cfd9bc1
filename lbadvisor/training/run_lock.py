"""One process at a time trains a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from lbadvisor.errors import CheckpointError, InTrainingError


def is_in_training(folder: Path) -> bool:
    """Whether a living process trains the run whose checkpoints lie in `folder`. Creates nothing."""
    if not (folder / "lock").exists():
        return False
    try:
        with filelock.FileLock(folder / "lock").acquire(timeout=0):
            return False
    except filelock.Timeout:
        return True


@contextmanager
def only_process(folder: Path, run: str) -> Iterator[None]:
    """While entered no other process trains the run whose checkpoints lie in `folder`, which is made.

    The lock is the operating system's and goes with the process, however that ends. Raises `InTrainingError` while
    another one holds it, and `CheckpointError` where the folder cannot be written.
    """
    lock = filelock.FileLock(folder / "lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Long enough for another process that only looks whether the run is in training.
        lock.acquire(timeout=0.2)
    except filelock.Timeout:
        raise InTrainingError(f"another process is training the run {run}: wait for it, or stop it") from None
    except (OSError, NotImplementedError) as error:  # the second is what filelock says of a file system without locks
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"the folder {folder} for the run's checkpoints cannot be written ({reason}): let yourself write there, or "
            "name a database in another folder with --db"
        ) from error
    try:
        yield
    finally:
        lock.release()
