"""Trains through the real command line on several ranks of this machine."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from lbadvisor.records.run import Measurement
from lbadvisor.store import Store
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints
from lbadvisor.training.checkpoints.content import read_content


def environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    """What a launcher sets for one of several processes of a machine."""
    return os.environ | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def started(
    ranks: int, *words: str, program: Sequence[str] = ("-m", "lbadvisor"), **more: Any
) -> Iterator[list[subprocess.Popen[str]]]:
    """The processes of one command line on several ranks; killed at the end if they still run."""
    port = free_port()
    with ExitStack() as stack:
        processes = []
        for rank in range(ranks):
            process = subprocess.Popen(
                [sys.executable, *program, *words],
                env=environment(rank, ranks, port),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                **more,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        yield processes


def run_on(ranks: int, *words: str, **more: Any) -> list[tuple[int, str, str]]:
    """The exit code, output and messages of each rank."""
    with started(ranks, *words, **more) as processes:
        spoken = [process.communicate(timeout=120) for process in processes]
        return [(process.returncode, out, err) for process, (out, err) in zip(processes, spoken, strict=True)]


def saved(database: Path, run: str) -> tuple[dict[str, Any], list[Measurement]]:
    """What the run's last checkpoint holds, and its measurements."""
    with Store.open(database, create=False) as store:
        found = store.run(run)
        _, content = read_content(checkpoints(store.checkpoint_folder(found))[0], torch.device("cpu"))
        return dict(content), store.measurements(found.number)
