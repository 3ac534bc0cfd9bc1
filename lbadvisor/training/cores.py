"""The CPU cores that this process may use, and what Linux says of who uses them; elsewhere nothing is known."""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

CGROUPS = Path("/sys/fs/cgroup")
PROCESSES = Path("/proc")


def default_threads() -> int:
    """The CPU threads of a new training: torch's own number, but not more than the process's cores of time.

    torch goes by the physical cores that the process may run on, or by OMP_NUM_THREADS, and does not know of a
    container's quota.
    """
    quota = None if has_given_threads() else quota_cores()
    return torch.get_num_threads() if quota is None else max(1, min(torch.get_num_threads(), int(quota)))


def has_given_threads() -> bool:
    """Whether OMP_NUM_THREADS says how many threads torch uses."""
    return bool(os.environ.get("OMP_NUM_THREADS"))


@contextmanager
def torch_threads_kept() -> Iterator[None]:
    """While entered, torch's number of threads may be set; it is restored."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def allowed_cores() -> frozenset[int]:
    """The numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def quota_cores() -> float | None:
    """The cores of time that the process's control groups allow it, the least of them; None without a limit.

    Of cgroup v2 `cpu.max`, of v1 `cpu.cfs_quota_us`: see cgroups(7) and the kernel's admin-guide/cgroup-v2.
    """
    try:
        lines = (PROCESSES / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return None
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUPS / "cpu" if controllers else CGROUPS
        inside = root / path.lstrip("/")
        # Within a container its own group is often mounted at the root, while the path is that of the host.
        for folder in {root, inside, *inside.parents}:
            if folder.is_relative_to(root):
                found.append(_quota(folder))
    return min((quota for quota in found if quota is not None), default=None)


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used up to a moment, all in seconds.

    `busy` is that of all processes on the cores, the host of a virtual machine among them; `own` that of this process,
    and `waits` how long each of its threads could run and had no core, by its number. `partners` is that of the other
    processes of its command.
    """

    at: float
    busy: float
    own: float
    waits: Mapping[str, float]
    partners: float = 0.0

    @classmethod
    def now(cls, *, has_partners: bool = False) -> Self | None:
        """The usage so far, of a process with others of its command or without; None if the system does not say."""
        try:
            busy = busy_seconds((PROCESSES / "stat").read_text(), allowed_cores(), os.sysconf("SC_CLK_TCK"))
            tasks = (PROCESSES / "self" / "task").iterdir()
            waits = {task.name: waited_seconds((task / "schedstat").read_text()) for task in tasks}
        except (OSError, ValueError, IndexError):  # a thread may end meanwhile
            return None
        partners = partner_seconds() if has_partners else 0.0
        return cls(time.perf_counter(), busy, time.process_time(), waits, partners)


def busy_seconds(stat: str, cores: frozenset[int], ticks_per_second: int) -> float:
    """Of /proc/stat, the time that the cores were not idle; see proc_stat(5)."""
    ticks = 0
    for line in stat.splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in cores:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, numbers[:8])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / ticks_per_second


def partner_seconds() -> float:
    """What the other processes computed that this one's parent started and that still run; see proc_pid_stat(5).

    A launcher starts all ranks of a machine, and a command all of its jobs.
    """
    ticks = 0
    # Of every thread of the parent: each has its own children.
    for children in (PROCESSES / str(os.getppid()) / "task").glob("*/children"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            for process in set(children.read_text().split()) - {str(os.getpid())}:
                # The name, in brackets, may have spaces and brackets of its own.
                numbers = (PROCESSES / process / "stat").read_text().rpartition(")")[2].split()
                ticks += int(numbers[11]) + int(numbers[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def waited_seconds(schedstat: str) -> float:
    """Of a thread's /proc/PID/task/TID/schedstat, the time that it waited for a core: the second number, in ns."""
    return int(schedstat.split()[1]) / 1e9
