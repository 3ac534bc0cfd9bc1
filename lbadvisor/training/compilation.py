"""A training's forward and backward pass, compiled if the recipe says so. B examples of a batch, K classes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lbadvisor.errors import CompilationError
from lbadvisor.recipe.recipe_tables import Compute

Forward = Callable[[Tensor], Tensor]
"""Maps inputs, such as images (B, C, H, W), to outputs, such as logits (B, K): a network, or its compiled form."""


def training_forward(model: nn.Module, compute: Compute) -> Forward:
    """The function an update calls: `model`, or its compiled form, with the same parameters and buffers.

    The whole network becomes one graph, or it is an error: unlike torch's default, it never falls back to compiling
    only a part, or nothing. Outputs and gradients equal the uncompiled network's up to rounding; dropout draws other
    masks. Kernels are chosen by rule, not by timing, so that a resumed run gets the same ones. CUDA graphs are not
    used: they would keep a micro-batch's outputs in memory that the next one overwrites.
    """
    if not compute.compile:
        return model
    options: dict[str, str | int | bool | Callable[..., object]] = {"deterministic": True}
    compiled: Forward = torch.compile(model, fullgraph=True, dynamic=False, options=options)
    return compiled


@contextmanager
def naming_the_compiler(compute: Compute) -> Iterator[None]:
    """While entered, a compiler error becomes a `CompilationError` that says what to do."""
    if not compute.compile:
        yield
        return
    # Takes a second to import: only compiling should wait for it.
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    try:
        yield
    except (TorchDynamoException, FailOnRecompileLimitHit) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CompilationError(
            f"the network cannot be compiled here ({reason}): train without compiling: --set compute.compile=false"
        ) from error
