"""Moments of the values of each channel: number, mean and biased variance, of parts and of all together.

A row (1 + 2C), float64, has the number, the C means and the C variances; `x` is (N, C) or (N, C, ...), with any spatial
dimensions.
"""

import torch
from torch import Tensor


def moments_of(x: Tensor) -> Tensor:
    """The row of the values of `x`; half precision is computed in float32."""
    x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    within = [0, *range(2, x.dim())]
    # In two passes, as exact as torch.var_mean and, on a CPU, ten times as fast.
    near = x.mean(within, keepdim=True)
    centred = x - near
    away_C = centred.mean(within).double()
    mean_C, var_C = near.flatten() + away_C, centred.square_().mean(within) - away_C.square()
    return torch.cat([mean_C.new_full((1,), x.numel() // x.size(1)), mean_C, var_C])


def pooled(rows: Tensor) -> Tensor:
    """The row of the values of R parts together, from theirs (R, 1 + 2C); a part may be empty, with a row of zeros.

    Source: Chan, Golub, LeVeque 1983 (doi:10.1080/00031305.1983.10483115).
    """
    values_R, mean_RC, var_RC = split(rows)
    total = values_R.sum(0)
    shares_R = values_R / total
    mean_C = (shares_R * mean_RC).sum(0)
    return torch.cat([total, mean_C, (shares_R * (var_RC + (mean_RC - mean_C).square())).sum(0)])


def split(row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Number (..., 1), means (..., C) and biased variances (..., C)."""
    channels = row.size(-1) // 2
    number, mean, var = row.split([1, channels, channels], -1)
    return number, mean, var


def unbiased(row: Tensor) -> Tensor:
    """The unbiased variances (C), as `nn.BatchNorm` keeps them."""
    number, _, var_C = split(row)
    return var_C * (number / (number - 1))
