"""Freed memory stays with the process, so that an update does not ask the system for it again."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from torch import nn
from lbadvisor.training.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
torch.set_num_threads(1)
network = nn.Sequential(*[nn.Conv2d(16, 16, 3, padding=1) for _ in range(8)])
x = torch.ones(64, 16, 16, 16)
for update in range(8):
    if update == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    network(x).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
def test_updates_reuse_freed_memory_instead_of_faulting_it_in_again():
    # With a fixed threshold; by itself glibc raises it now and then, and the faults of two processes differ.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
    faults = {}
    for how in ("returned", "kept"):
        words = [sys.executable, "-c", FAULTS, how]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        faults[how] = int(done.stdout)
    # Four updates; eight activations of 1 MB each are 2048 pages.
    assert faults["kept"] < 1000 < 4000 < faults["returned"]
