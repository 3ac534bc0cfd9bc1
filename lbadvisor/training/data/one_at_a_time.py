"""Lets one process of a machine make what several need, such as ranks or jobs: the others wait, and find it made."""

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

import filelock

from lbadvisor.errors import DataError, reason_of
from lbadvisor.training.data.dataset import Preparing

LOOK_SECONDS = 0.2
"""How often a process that waits says so, and can be stopped."""

Found = TypeVar("Found")


def one_at_a_time(
    lock_file: Path, what: str, make: Callable[[], Generator[Preparing, None, Found]]
) -> Generator[Preparing, None, Found]:
    """What `make` makes or finds, while no other process does so under this lock.

    The lock belongs to the operating system and ends with the process, however that ends. Raises `DataError` if its
    file cannot be written.
    """
    lock = filelock.FileLock(lock_file)
    try:
        while not lock.is_locked:
            try:
                lock_file.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=LOOK_SECONDS, poll_interval=LOOK_SECONDS / 4)
            except filelock.Timeout:
                yield Preparing(f"waiting for another process: {what}")
            except (OSError, NotImplementedError) as error:  # filelock raises the second on a file system without locks
                raise DataError(
                    f"{what}: the file {lock_file} cannot be written ({reason_of(error)}): get write permission to its "
                    "folder"
                ) from error
        return (yield from make())
    finally:
        if lock.is_locked:
            # First the file, then the lock: whoever waits for it makes a new one.
            with contextlib.suppress(OSError):
                lock_file.unlink()
            lock.release()
