"""What runs on the machines of a Ray cluster besides the jobs: it loads no torch."""

import socket
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from lbadvisor.store.run_folder import is_in_training
from lbadvisor.version import __version__


@dataclass(frozen=True, slots=True)
class NodeView:
    """What a machine sees: its own name and versions, and `folder`, of which another machine holds the lock."""

    host: str
    versions: str
    folder: Path
    has_folder: bool
    is_locked: bool

    def fault(self, own: "NodeView") -> str | None:
        """Why jobs cannot run there; `own` is what the machine sees that holds the lock."""
        if self.versions != own.versions:
            return f"{self.host} has {self.versions}, but {own.host} has {own.versions}: install the same on all nodes"
        if not self.has_folder:
            return (
                f"{self.host} does not have the folder {self.folder.parent} of the checkpoints: share it with all nodes"
            )
        if not self.is_locked:
            return (
                f"{self.host} has the folder {self.folder.parent} of the checkpoints, but does not notice that "
                f"{own.host} has locked a file in it: mount it with locks that hold on all nodes"
            )
        return None


def look(folder: Path) -> NodeView:
    """What is seen from here."""
    versions = f"lbadvisor {__version__}, torch {version('torch')}"
    return NodeView(socket.gethostname(), versions, folder, folder.is_dir(), is_in_training(folder))


class Post:
    """An actor that keeps what jobs tell, as bytes, until it is asked."""

    def __init__(self) -> None:
        self._told: list[tuple[int, bytes]] = []

    def tell(self, job: int, event: bytes) -> None:
        """Keep what a job tells."""
        self._told.append((job, event))

    def told(self) -> list[tuple[int, bytes]]:
        """What was told since the last time, in order."""
        told, self._told = self._told, []
        return told
