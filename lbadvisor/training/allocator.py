"""Keeps freed memory with the process: glibc would return an update's activations, only to ask for them again."""

import ctypes
import platform
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of glibc's malloc.h; see mallopt(3)."""


@cache
def keep_freed_memory() -> bool:
    """Have glibc reuse freed memory instead of returning it to the system; returns whether it will.

    Each page that comes back from the system is zeroed on first use: some 24 000 page faults in an update of ResNet-44
    at batch 128. The process then holds its peak until it ends. Other C libraries are left alone, as are allocators
    that are preloaded (jemalloc, tcmalloc), whose `mallopt` does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # Both: memory mapped for one tensor is unmapped when it is freed, whatever the threshold.
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
