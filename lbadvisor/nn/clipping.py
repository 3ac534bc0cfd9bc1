"""The gradient's norm and its clipping."""

import torch
from torch import Tensor


def gradient_norm(parameters: list[Tensor]) -> Tensor:
    """Global L2 norm of the gradients, shape ()."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def clip(parameters: list[Tensor], max_norm: float) -> Tensor:
    """Scale the gradients in place to a global L2 norm of at most `max_norm`; returns the norm before, shape ().

    Source of the rule: Hoffer et al. 2017, arXiv:1705.08741, which clips in the first updates.
    """
    return torch.nn.utils.clip_grad_norm_(parameters, max_norm)
