"""How far the weights are from the first ones."""

from collections.abc import Sequence

import torch
from torch import Tensor


def distance_of(parameters: Sequence[Tensor], initial: Sequence[Tensor]) -> float:
    """L2 norm of w_t - w_0 over all parameters, unitless; it grows as log t in Hoffer et al. 2017, arXiv:1705.08741."""
    with torch.no_grad():
        return float(torch.nn.utils.get_total_norm([p - w for p, w in zip(parameters, initial, strict=True)]))
