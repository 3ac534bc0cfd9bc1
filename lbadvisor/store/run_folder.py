"""What lies beside the database for each run: the folder of its checkpoints, and the lock of who trains it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from lbadvisor.errors import CheckpointError, InTrainingError
from lbadvisor.records.run import Run

LOCK_SECONDS = 0.5
"""So long the lock is asked for: whoever asks whether a run is trained holds it for a moment."""


def checkpoints_beside(database: Path) -> Path:
    """The folder of all that is kept in files beside the database."""
    return database.parent / "checkpoints" / database.stem


def checkpoint_folder(database: Path, run: Run) -> Path:
    """Where the run's checkpoints lie: beside the database, under its number and the moment when the run was made.

    The first versions had its name instead of its number, which a run can lose: the moment tells them apart as well.
    """
    folder, moment = checkpoints_beside(database), f"{run.created_at:%Y%m%dT%H%M%S.%f}"
    own = folder / f"{run.number}-{moment}"
    earlier = None if own.exists() else next(iter(sorted(folder.glob(f"*-{moment}"))), None)
    return earlier or own


@contextmanager
def only_process(folder: Path, run: str) -> Iterator[None]:
    """While entered no other process trains the run whose checkpoints lie in `folder`, which is made.

    The lock is the operating system's and goes with the process, however that ends. Raises `InTrainingError` while
    another process holds it, and `CheckpointError` if the folder cannot be written.
    """
    lock = filelock.FileLock(_lock_file(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LOCK_SECONDS, poll_interval=LOCK_SECONDS / 50)
    except filelock.Timeout:
        raise already_trained(run) from None
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


def already_trained(run: str) -> InTrainingError:
    """The refusal to train a run that another process is training."""
    return InTrainingError(f"another process is training the run {run}: wait for it, or stop it")


def is_in_training(folder: Path) -> bool:
    """Whether a living process trains the run whose checkpoints lie in `folder`; makes nothing and needs no right to
    write.

    If that cannot be found out (the lock may not be read, the file system has no locks), it is taken to be so.
    """
    if os.name != "posix":
        return True
    import fcntl

    try:
        file = os.open(_lock_file(folder), os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    try:
        # Shared, so that those who ask do not take one another for a training.
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def _lock_file(folder: Path) -> Path:
    return folder / "lock"
