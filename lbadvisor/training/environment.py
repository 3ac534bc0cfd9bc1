"""What a run runs on, and whether its checkpoint was made there: only then are the bits the same."""

import os
import platform
import subprocess
from pathlib import Path

import torch

from lbadvisor.errors import UsageError
from lbadvisor.records.run import Environment
from lbadvisor.version import __version__


def chosen_device(name: str) -> torch.device:
    """The device called auto, cpu or cuda; auto is the GPU, if there is one. Raises `UsageError`."""
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device `{name}`: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("this machine has no CUDA device: give --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def make_deterministic(device: torch.device) -> None:
    """Use deterministic kernels, and flush denormal numbers to zero: they slow a CPU down many times over."""
    torch.set_flush_denormal(True)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def environment_of(device: torch.device) -> Environment:
    """The environment of a run on `device`, now."""
    commit = _git("rev-parse", "HEAD")
    return Environment(
        device=device.type,
        device_name=device_name(device),
        lbadvisor_version=__version__,
        python_version=platform.python_version(),
        torch_version=torch.__version__,
        git_commit=commit,
        git_dirty=None if commit is None else bool(_git("status", "--porcelain")),
    )


def device_name(device: torch.device) -> str:
    """The maker's name; for a CPU with torch's instruction set, such as AVX2, which affects bits."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()} ({torch.backends.cpu.get_cpu_capability()})"


def departures(before: Environment, now: Environment) -> list[str]:
    """The differences between two environments that affect bits, each as `what: before there, now here`."""
    fields = ("device_name", "torch_version", "lbadvisor_version")
    return [
        f"{field}: {getattr(before, field)} there, {getattr(now, field)} here"
        for field in fields
        if getattr(before, field) != getattr(now, field)
    ]


def threads_kept(threads: int) -> bool:
    """Whether torch really uses this many CPU threads when asked to, which this function does."""
    torch.set_num_threads(threads)
    # OpenMP reports how many were requested, not how many its own limit allows.
    limit = os.environ.get("OMP_THREAD_LIMIT", "")
    return torch.get_num_threads() == threads and not (limit.isdecimal() and 0 < int(limit) < threads)


def _processor() -> str:
    # On Linux, Python only knows the architecture.
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str | None:
    """What git says about the working folder; None without a repository or without git."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
