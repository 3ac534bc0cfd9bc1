"""The precision a network computes in: the recipe's `[compute]`, translated for torch."""

import torch

from lbadvisor.errors import UsageError
from lbadvisor.recipe.recipe_tables import Compute

AMPERE = (8, 0)


def check_compute(compute: Compute, device: torch.device) -> None:
    """Raise `UsageError` if `device` cannot compute as the recipe says."""
    if compute.tf32 and device.type != "cuda":
        raise UsageError(
            f"compute.tf32 = true has no meaning on the device {device.type}, which has no TF32: "
            "give --set compute.tf32=false, or --device cuda"
        )
    if device.type == "cuda":
        check_capability(compute, torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device))


def check_capability(compute: Compute, name: str, capability: tuple[int, int]) -> None:
    """Raise `UsageError` if a GPU of that name and compute capability lacks what the recipe computes in.

    Tensor cores have bfloat16 and TF32 from Ampere on, capability 8.0 (NVIDIA, CUDA C++ Programming Guide, compute
    capabilities). Below, torch would emulate bfloat16, slower than float32, and ignore TF32.
    """
    wanted = "bf16" if compute.precision == "bf16" else "TF32" if compute.tf32 else None
    if wanted is not None and capability < AMPERE:
        setting = 'compute.precision="float32"' if wanted == "bf16" else "compute.tf32=false"
        raise UsageError(
            f"the GPU {name} has no {wanted}: its compute capability is {capability[0]}.{capability[1]}, but {wanted} "
            f"needs 8.0: give --set {setting}"
        )


def set_tf32(compute: Compute) -> None:
    """Let CUDA's matrix products, convolutions and recurrent layers use TF32 if the recipe says so, else full float32.

    Torch's own default is float32 for products and TF32 for the others. It has old and new flags for this, and reading
    the old ones raises an error unless the new ones agree: so both are set, the new ones last. They override
    `torch.backends.fp32_precision`.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = compute.tf32
    name = "tf32" if compute.tf32 else "ieee"
    torch.backends.cuda.matmul.fp32_precision = name
    torch.backends.cudnn.conv.fp32_precision = name  # type: ignore[attr-defined]
    torch.backends.cudnn.rnn.fp32_precision = name  # type: ignore[attr-defined]


def autocast(compute: Compute, device: torch.device) -> torch.autocast:
    """The context of a forward pass: bfloat16 for operations that torch supports it for, or no autocast.

    Weights, gradients and running statistics stay float32. The loss needs no scaling, because bfloat16 has float32's
    exponent range (Kalamkar et al. 2019, arXiv:1905.12322).
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=compute.precision == "bf16")
