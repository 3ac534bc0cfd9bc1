"""What this machine would train on, as far as Linux says so at once, without torch."""

from pathlib import Path

CPU_FACTS, NVIDIA_DRIVER = Path("/proc/cpuinfo"), Path("/proc/driver/nvidia/version")


def training_cpu_flags(facts: Path = CPU_FACTS, driver: Path = NVIDIA_DRIVER) -> frozenset[str]:
    """The features of the CPU that --device auto would use; none if a GPU is likely, or the system does not say."""
    if driver.exists():
        return frozenset()
    try:
        with facts.open(errors="replace") as lines:
            flags = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        return frozenset()
    return frozenset(flags.partition(":")[2].split())
