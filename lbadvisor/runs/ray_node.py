"""What runs on the nodes of a Ray cluster besides jobs; loads no torch."""

import socket
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Self

from lbadvisor.store.run_folder import is_in_training
from lbadvisor.version import __version__


@dataclass(frozen=True, slots=True)
class Held:
    """What every node must share: a folder beside the checkpoints, of which `host` holds the lock; and its versions."""

    folder: Path
    host: str
    versions: str

    @classmethod
    def here(cls, folder: Path) -> Self:
        """Held by this machine."""
        return cls(folder, socket.gethostname(), _versions())

    def fault(self) -> str | None:
        """Why no job can run on this machine."""
        own, checkpoints = socket.gethostname(), self.folder.parent
        if self.versions != _versions():
            return f"{own} has {_versions()}, but {self.host} has {self.versions}: install the same on all nodes"
        if not self.folder.is_dir():
            return f"{own} does not have the folder {checkpoints} of the checkpoints: share it with all nodes"
        if not is_in_training(self.folder):
            return (
                f"{own} has the folder {checkpoints} of the checkpoints, but does not notice that {self.host} has "
                "locked a file in it: mount it with locks that hold on all nodes"
            )
        return None


def _versions() -> str:
    return f"lbadvisor {__version__} and torch {version('torch')}"


class Post:
    """An actor that keeps what jobs tell, as bytes, until it is asked."""

    def __init__(self) -> None:
        self._told: list[tuple[int, bytes]] = []
        self._begun: set[int] = set()

    def begins_again(self, job: int) -> bool:
        """Note that a job begins; returns whether it did before."""
        again = job in self._begun
        self._begun.add(job)
        return again

    def tell(self, job: int, event: bytes) -> None:
        """Keep what a job tells."""
        self._told.append((job, event))

    def told(self) -> list[tuple[int, bytes]]:
        """What was told since the last time, in order."""
        told, self._told = self._told, []
        return told
