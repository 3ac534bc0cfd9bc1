"""Trains through the real command line on several ranks of this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from lbadvisor.errors import StoreError
from lbadvisor.records.run import Measurement
from lbadvisor.runs.on_ranks import places_here
from lbadvisor.store import Store
from lbadvisor.training.checkpoints.checkpoint_file import checkpoints
from lbadvisor.training.checkpoints.content import read_content


@contextmanager
def started(
    ranks: int, *words: str, program: Sequence[str] = ("-m", "lbadvisor"), **more: Any
) -> Iterator[list[subprocess.Popen[str]]]:
    """The processes of one command line on several ranks; killed at the end if they still run."""
    with ExitStack() as stack:
        processes = []
        for place in places_here(ranks):
            process = subprocess.Popen(
                [sys.executable, *program, *words],
                env=os.environ | {"OMP_NUM_THREADS": "1"} | place,
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
        spoken = [process.communicate(timeout=300) for process in processes]
        return [(process.returncode, out, err) for process, (out, err) in zip(processes, spoken, strict=True)]


def saved(database: Path, run: str) -> tuple[dict[str, Any], list[Measurement]]:
    """What the run's last checkpoint holds, and its measurements."""
    with Store.open(database, create=False) as store:
        found = store.run(run)
        _, content = read_content(checkpoints(store.checkpoint_folder(found))[0], torch.device("cpu"))
        return dict(content), store.measurements(found.number)


@contextmanager
def under_torchrun(ranks: int, *words: str, restarts: int = 0) -> Iterator[subprocess.Popen[str]]:
    """The command line started by torchrun; killed at the end, with its ranks, if it still runs."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "--max-restarts", str(restarts)]
    with subprocess.Popen(
        [sys.executable, *launcher, "-m", "lbadvisor", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            for pid in [*ranks_under(process).values(), process.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def ranks_under(torchrun: subprocess.Popen[str]) -> dict[int, int]:
    """The processes of the ranks that torchrun has started by now, by rank."""
    found = {}
    with suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split():
            given = dict(line.split("=", 1) for line in Path(f"/proc/{child}/environ").read_text().split("\0") if line)
            if "RANK" in given:
                found[int(given["RANK"])] = int(child)
    return found


def wait_until(has_come: Callable[[], object], seconds: float = 300) -> None:
    """Wait for it; a test in which it does not come has failed."""
    latest = time.monotonic() + seconds
    while not has_come():
        assert time.monotonic() < latest
        time.sleep(0.01)


def update_of_run(database: Path, run: str) -> int:
    """The latest update of the run that is stored; 0 before there is one."""
    # Until the run is made there is a database without it, or half a one.
    with suppress(StoreError), Store.open(database, create=False) as store:
        return store.run(run).update
    return 0
