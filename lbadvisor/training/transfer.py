"""Sends what was drawn on the CPU to the device that trains, without waiting for it."""

import torch
from torch import Tensor


def sent(values: Tensor, device: torch.device) -> Tensor:
    """The same values on `device`; a CPU's own are not copied.

    A GPU copies them from pinned memory when it gets there: a copy from other memory waits until the GPU has done all
    that it was given, and then leaves it without work.
    """
    if device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
