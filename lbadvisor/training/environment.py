"""What a run runs on, and whether its checkpoint was made there: only then are the bits the same."""

import os
import re
from pathlib import Path

import torch
import torch.utils.deterministic

from lbadvisor.errors import UsageError
from lbadvisor.records.run import Environment
from lbadvisor.training.host import environment_on, processor
from lbadvisor.training.ranks import ALONE, Ranks


def chosen_device(name: str, ranks: Ranks = ALONE) -> torch.device:
    """The device called auto, cpu, cuda or cuda:N; auto is the first GPU, if there is one. Raises `UsageError`.

    One of several ranks on a machine gets a GPU of its own.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = device_among(name, gpus)
    if device.type != "cuda" or not ranks.are_several:
        return device
    if ":" in name:
        raise UsageError(f"--device {name} would put {ranks.size} ranks on one GPU: give cuda, and each gets its own")
    if gpus < ranks.of_machine:
        raise UsageError(
            f"{ranks.of_machine} ranks on this machine need as many GPUs, and it has {gpus}: start fewer, or give "
            "--device cpu"
        )
    return torch.device("cuda", ranks.local_rank)


def device_among(name: str, gpus: int) -> torch.device:
    """The device of that name on a machine of so many GPUs. Raises `UsageError`."""
    kind, colon, number = name.partition(":")
    is_number = number.isascii() and number.isdigit() and len(number) < 4
    if kind not in ("auto", "cpu", "cuda") or (colon and not (kind == "cuda" and is_number)):
        raise UsageError(f"unknown device `{name[:40]}`: choose auto, cpu, cuda or cuda:1")
    if kind == "cpu" or (kind == "auto" and gpus == 0):
        return torch.device("cpu")
    if gpus == 0:
        raise UsageError("this machine has no CUDA device: give --device cpu or auto")
    index = int(number or 0)
    if index >= gpus:
        raise UsageError(f"this machine has no device cuda:{index}: its last one is cuda:{gpus - 1}")
    return torch.device("cuda", index)


def devices_like(name: str) -> list[torch.device]:
    """The device of that name; of auto, all GPUs if there are any. Raises `UsageError`."""
    device = chosen_device(name)
    if name != "auto" or device.type == "cpu":
        return [device]
    return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]


def unused_gpus(device: torch.device, gpus: int) -> str | None:
    """What to say of a machine of so many GPUs if a run uses `device` alone; None: it has no other."""
    if device.type != "cuda" or gpus < 2:
        return None
    return f"trains on {device}, one of {gpus} GPUs: --device cuda:N chooses another"


def make_deterministic(device: torch.device) -> None:
    """Use deterministic kernels, and flush denormal numbers to zero: they slow a CPU down many times over."""
    torch.set_flush_denormal(True)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        # Every value is written before it is read; torch would fill the memory first, a kernel for each new tensor.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False


def environment_of(device: torch.device) -> Environment:
    """The environment of a run on `device`, now."""
    return environment_on(device.type, device_name(device), torch.__version__)


def device_name(device: torch.device) -> str:
    """The maker's name, and what else chooses its kernels, and so the bits.

    For a CPU that is torch's instruction set, such as AVX2; for a GPU, cuDNN and the driver.
    """
    if device.type == "cuda":
        cudnn, driver = torch.backends.cudnn.version(), _driver(DRIVER)
        return f"{torch.cuda.get_device_name(device)} (cuDNN {cudnn}, driver {driver or 'unknown'})"
    return f"{processor()} ({torch.backends.cpu.get_cpu_capability()})"


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


DRIVER = Path("/proc/driver/nvidia/version")
"""Where NVIDIA's driver says which one it is, on Linux."""


def _driver(file: Path) -> str | None:
    """The version in the first line of `file`: "NVRM version: NVIDIA UNIX ... Kernel Module  550.54.15  Tue ..."."""
    try:
        found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", file.read_text(errors="replace"))
    except OSError:
        return None
    return found and found[1]
