"""A training's forward and backward pass, compiled where the recipe says so. B examples of a batch, K classes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lbadvisor.errors import CompilationError
from lbadvisor.recipe.recipe_tables import Compute

Forward = Callable[[Tensor], Tensor]
"""What maps images (B, C, H, W) to logits (B, K): a network, or what was compiled of it."""


def training_forward(model: nn.Module, compute: Compute) -> Forward:
    """What an update calls: `model`, or what `torch.compile` makes of it, on the same parameters and buffers.

    The whole network is one graph, or an error: nothing goes on in part, or without, as torch's default does. Next to
    the network as it is, outputs and gradients are equal to rounding, and dropout draws other masks. Kernels are chosen
    by rule and not by timing them, so that a resumed run has the same ones. CUDA graphs are left out: they would keep
    a micro-batch's outputs in memory that the next one writes to.
    """
    if not compute.compile:
        return model
    options: dict[str, str | int | bool | Callable[..., object]] = {"deterministic": True}
    compiled: Forward = torch.compile(model, fullgraph=True, dynamic=False, options=options)
    return compiled


@contextmanager
def naming_the_compiler(compute: Compute) -> Iterator[None]:
    """Let an error of the compiler's be a `CompilationError` that says what to do."""
    if not compute.compile:
        yield
        return
    # Takes a second to import, which only who compiles shall wait for.
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    try:
        yield
    except (TorchDynamoException, FailOnRecompileLimitHit) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CompilationError(
            f"the network cannot be compiled here ({reason}): train it as it is, with --set compute.compile=false"
        ) from error
