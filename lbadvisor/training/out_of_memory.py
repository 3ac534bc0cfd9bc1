"""Recognizes and reports that the memory of a machine or GPU ran out."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lbadvisor.errors import OutOfMemoryError

_SAID = re.compile(r"out of memory|[Cc]an('t|not) allocate memory|not enough memory|ALLOC(ATION)?_FAILED")
"""Only torch's own GPU allocator has an error class for it. These are the words of the CUDA runtime, the CPU allocator
(on Linux and on Windows), of mapping a file, cuBLAS, cuDNN and the like."""


def is_of_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out."""
    if isinstance(error, RuntimeError):
        return isinstance(error, torch.OutOfMemoryError) or _SAID.search(str(error)) is not None
    return isinstance(error, MemoryError)


@contextmanager
def naming_memory(message: str) -> Iterator[None]:
    """While entered, running out of memory raises an `OutOfMemoryError` with this message."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_of_memory(error):
            raise
        raise OutOfMemoryError(message) from error
