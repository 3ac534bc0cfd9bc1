"""Where the ranks of one start find one another, and tell each other that they are left when one is lost."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable

import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from lbadvisor.errors import RankError, UsageError

MEETING_SECONDS = 300.0
"""How long the ranks wait for one another to start: torch's default."""

ROLL_CALL_SECONDS = 2.0
"""After a rank lost another one, the others have this long to say that they are left."""

_PORT = "port of rank 0"


def meeting_store(rank: int) -> TCPStore:
    """The store that rank 0 keeps while it lives. Raises `UsageError` and `RankError`.

    That of torchrun lives on when torchrun restarts the ranks, with the addresses of those before, and ranks that read
    them never meet (pytorch/pytorch#135712). So it only tells the port of rank 0's own, which is new if it answers.
    """
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", "")
    if not host or not port.isdigit():
        raise UsageError(
            "RANK and WORLD_SIZE are set, but not MASTER_ADDR and MASTER_PORT: start it with torchrun, or unset RANK"
        )
    try:
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            return TCPStore(host, int(port), is_master=rank == 0, wait_for_workers=False)
        agent = TCPStore(host, int(port), is_master=False)
        if rank == 0:
            own = TCPStore(host, 0, is_master=True, wait_for_workers=False)
            agent.set(_PORT, str(own.port))
            return own
        latest = time.monotonic() + MEETING_SECONDS
        while not _listens(host, found := int(agent.get(_PORT))) and time.monotonic() < latest:
            time.sleep(0.1)
        return TCPStore(host, found, is_master=False)
    except dist.DistError as error:
        said = str(error).splitlines()[0]
        raise RankError(f"rank {rank} met no others at {host}:{port} ({said}): start all of them again") from error


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def missing_ranks(store: TCPStore, rank: int, size: int) -> list[int]:
    """The ranks that do not say in time that they lost another one, as this one does."""
    left: set[int] = set()

    def call() -> None:
        store.set(f"rank {rank} is left", "")
        time.sleep(ROLL_CALL_SECONDS)
        left.update(other for other in range(size) if store.check([f"rank {other} is left"]))

    return sorted({*range(size)} - left) if _is_answered(store, call) else [0]


def answers(store: TCPStore) -> bool:
    """Whether the process of rank 0, which keeps the store, lives and is not stopped; it may be busy."""
    return _is_answered(store, lambda: store.check([_PORT]))


def _is_answered(store: TCPStore, ask: Callable[[], object]) -> bool:
    answered = threading.Event()

    def call() -> None:
        with contextlib.suppress(dist.DistError):
            ask()
            answered.set()

    # If rank 0 hangs, whoever asks waits for ever, whatever the store's timeout.
    if _listens(store.host, store.port):
        calling = threading.Thread(target=call, daemon=True)
        calling.start()
        calling.join(2 * ROLL_CALL_SECONDS)
    return answered.is_set()
