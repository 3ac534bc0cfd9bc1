"""The machine and the working folder, as far as they are known without torch."""

import platform
import subprocess
from pathlib import Path

from lbadvisor.records.run import Environment
from lbadvisor.version import __version__


def environment_on(device: str, device_name: str, torch_version: str) -> Environment:
    """The environment of a run on that device, now."""
    commit = _git("rev-parse", "HEAD")
    return Environment(
        device=device,
        device_name=device_name,
        lbadvisor_version=__version__,
        python_version=platform.python_version(),
        torch_version=torch_version,
        git_commit=commit,
        git_dirty=None if commit is None else bool(_git("status", "--porcelain")),
    )


def processor() -> str:
    """The processor's name."""
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
