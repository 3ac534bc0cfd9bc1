"""The program as several processes that train together: rank 0 runs the command, the others train with it."""

import contextlib
import gc
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path


def are_started() -> bool:
    """Whether a launcher, such as torchrun, started this process as one of several ranks."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"


def tell_launcher(message: str) -> None:
    """Say why this process fails: torchrun shows it in its report, by the rank.

    The file's form is that of torch.distributed.elastic.multiprocessing.errors.ErrorHandler (torch 2.14).
    """
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file:
        said = {"message": message, "extraInfo": {"timestamp": str(int(time.time()))}}
        with contextlib.suppress(OSError):
            Path(file).write_text(json.dumps({"message": said}), encoding="utf-8")


def places_here(ranks: int) -> list[dict[str, str]]:
    """What a launcher sets in the environments of so many ranks, all of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]


def run_on_ranks(command: Callable[[], object]) -> None:
    """Run the command on rank 0, and train what it trains on the others; all of them exit with the same code.

    Raises what the command raises.
    """
    from lbadvisor.runs.attending import attend
    from lbadvisor.runs.signals import handled_by
    from lbadvisor.training.ranks import joined

    with joined() as ranks, handled_by(lambda *_: None) if not ranks.is_first else contextlib.nullcontext():
        if ranks.is_first:
            code = 0
            try:
                command()
            except SystemExit as end:
                code = int(end.code or 0)
            ranks.tell(code)
        else:
            # Rank 0 says when to stop.
            code = attend(ranks)
        # What still holds a part of the group must go before it is closed.
        gc.collect()
        ranks.wait()
    raise SystemExit(code)
