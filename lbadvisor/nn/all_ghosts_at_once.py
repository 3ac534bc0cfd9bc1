"""Ghost batch norm in few operations, whatever the number of ghosts: what a GPU needs, for each is a kernel or more.

Shapes: N examples, C channels, K ghosts of one size; `x` is (N, C, ...), in any memory format.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lbadvisor.nn.ghost_statistics import update_running


class AllGhostsAtOnce(torch.autograd.Function):
    """`normalize_at_once` with a backward pass of its own: two thirds of the operations, keeping only `x`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        sizes: tuple[int, ...],
        factors: tuple[float, ...],
        eps: float,
    ) -> Tensor:
        """`x` normalized ghost by ghost, in its own dtype; updates the running statistics in place."""
        y, saved, means, variances = torch.empty_like(x), [], [], []
        weight_C, bias_C = (None if t is None else t.view(-1, *[1] * (x.dim() - 2)) for t in (weight, bias))
        for x_KG, y_KG in zip(by_ghost(sizes, x), by_ghost(sizes, y), strict=True):
            var, mean = torch.var_mean(_exact(x_KG), _within(x_KG), correction=0, keepdim=True)
            inverse_std = (var + eps).rsqrt_()
            scale = inverse_std if weight_C is None else inverse_std * weight_C
            shift = -mean * scale if bias_C is None else torch.addcmul(bias_C, mean, scale, value=-1)
            torch.addcmul(shift, x_KG, scale, out=y_KG)
            values = x_KG[0, :, 0].numel()
            saved += [mean, inverse_std, scale]
            means.append(mean.flatten(1))
            variances.append(var.flatten(1) * (values / (values - 1)))
        update_running(running_mean, running_var, means, variances, factors)
        ctx.save_for_backward(x, *saved)
        ctx.sizes, ctx.has_weight, ctx.has_bias = sizes, weight is not None, bias is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """With e = (x - mean)/std, over each ghost: weight (grad_y - mean(grad_y) - e mean(e grad_y))/std for x."""
        x, *saved = ctx.saved_tensors
        grad_x, grad_weights, grad_biases = torch.empty_like(x), [], []
        statistics = zip(saved[::3], saved[1::3], saved[2::3], strict=True)
        for (x_KG, grad_y_KG, grad_x_KG), (mean, inverse_std, scale) in zip(
            zip(*(by_ghost(ctx.sizes, t) for t in (x, grad_y, grad_x)), strict=True), statistics, strict=True
        ):
            centred, within, values = x_KG - mean, _within(x_KG), x_KG[0, :, 0].numel()
            grad_bias = grad_y_KG.sum(within, keepdim=True, dtype=mean.dtype)
            grad_weight = (centred * grad_y_KG).sum(within, keepdim=True) * inverse_std
            share = scale / -values
            rest = torch.addcmul(grad_bias * share, centred, grad_weight * inverse_std * share)
            torch.addcmul(rest, grad_y_KG, scale, out=grad_x_KG)
            grad_weights.append(grad_weight.flatten(1))
            grad_biases.append(grad_bias.flatten(1))
        total_weight, total_bias = (_joined(rows).sum(0) for rows in (grad_weights, grad_biases))
        return (grad_x, total_weight if ctx.has_weight else None, total_bias if ctx.has_bias else None, *[None] * 5)


def by_ghost(sizes: tuple[int, ...], x: Tensor) -> tuple[Tensor, ...]:
    """Views of `x` with a dimension for the ghosts (K, G, ...): those of one size together, then a last one of another.

    `sizes` come from `ghost_slices`: only the last may differ.
    """
    equal = sizes.count(sizes[0])
    end = equal * sizes[0]
    together = x[:end].unflatten(0, (equal, sizes[0]))
    return (together,) if equal == len(sizes) else (together, x[None, end:])


def _within(x_KG: Tensor) -> list[int]:
    return [1, *range(3, x_KG.dim())]


def _exact(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _joined(rows: list[Tensor]) -> Tensor:
    return rows[0] if len(rows) == 1 else torch.cat(rows)
