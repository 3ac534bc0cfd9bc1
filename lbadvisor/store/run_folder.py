"""What each run has beside the database: the folder of its checkpoints, and the lock of the process that trains it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from lbadvisor.errors import CheckpointError, InTrainingError
from lbadvisor.records.run import Run
from lbadvisor.store.address import DatabaseAddress

LOCK_SECONDS = 0.5
"""How long to try to get the lock: checking whether a run is in training holds it for a moment."""


def checkpoints_of(database: DatabaseAddress) -> Path:
    """The folder of all that is kept in files: beside the database's file, or for a server in LBADVISOR_CHECKPOINTS.

    The latter is shared by all machines that train for the server's database; it is db/checkpoints here by default.
    """
    if isinstance(database, Path):
        return database.parent / "checkpoints" / database.stem
    return Path(os.environ.get("LBADVISOR_CHECKPOINTS") or "db/checkpoints").absolute() / database.name


def checkpoint_folder(database: DatabaseAddress, run: Run) -> Path:
    """The folder of the run's checkpoints, named by the run's number and time of creation.

    The first versions used its name, which can change, instead of its number; the time distinguishes runs as well.
    """
    folder, moment = checkpoints_of(database), f"{run.created_at:%Y%m%dT%H%M%S.%f}"
    own = folder / f"{run.number}-{moment}"
    earlier = None if own.exists() else next(iter(sorted(folder.glob(f"*-{moment}"))), None)
    return earlier or own


@contextmanager
def only_process(folder: Path, run: str) -> Iterator[None]:
    """While entered, no other process can train the run with checkpoints in `folder`, which is created.

    The lock belongs to the operating system and ends with the process, however that ends. Raises `InTrainingError` if
    another process holds it, and `CheckpointError` if the folder cannot be written.
    """
    lock = filelock.FileLock(_lock_file(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LOCK_SECONDS, poll_interval=LOCK_SECONDS / 50)
    except filelock.Timeout:
        raise error_of_training(run) from None
    except (OSError, NotImplementedError) as error:  # filelock raises the second on a file system without locks
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"the folder {folder} for the run's checkpoints cannot be written ({reason}): get write permission, or "
            "name another folder: with --db that of a file, with LBADVISOR_CHECKPOINTS that of a server's database"
        ) from error
    try:
        yield
    finally:
        lock.release()


def error_of_training(run: str) -> InTrainingError:
    """The error for a run that another process is training."""
    return InTrainingError(f"another process is training the run {run}: wait for it, or stop it")


def is_in_training(folder: Path) -> bool:
    """Whether a process is training the run with checkpoints in `folder`; creates nothing, needs no write permission.

    If this cannot be determined (the lock cannot be read, the file system has no locks), the answer is yes.
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
        # Shared, so that processes that check do not mistake each other for a training.
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def _lock_file(folder: Path) -> Path:
    return folder / "lock"
