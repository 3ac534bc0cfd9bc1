"""Randomness as a function: every draw comes from (seed, purpose, index), never from a generator's history."""

import hashlib

import torch
from torch import Tensor


def derived_seed(seed: int, purpose: str, index: int) -> int:
    """A 63-bit seed for the `index`-th draw for one purpose ("order", "update", "weights"), from a run's seed."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, purpose: str, index: int) -> torch.Generator:
    """A CPU generator that starts at `derived_seed`: the same draws on every device."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, index))


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of `device`: the draws of `torch.manual_seed`.

    `torch.manual_seed` also seeds every other kind of device; without such a device it records the place of the call,
    which takes 0.1 ms or more: too much for a small network's update.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def permutation(seed: int, epoch: int, examples: int) -> Tensor:
    """The order of one epoch: the numbers 0..examples-1, shape (examples,), int64."""
    return torch.randperm(examples, generator=generator(seed, "order", epoch))
