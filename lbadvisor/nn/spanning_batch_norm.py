"""Batch norm of a ghost that lies in several processes. N examples of a process, C channels, R processes.

`x` is (N, C) or (N, C, ...), with any spatial dimensions.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
from lbadvisor.nn.ghost_statistics import update_running
from lbadvisor.nn.moments import moments_of, pooled, split, unbiased


class SpanningBatchNorm(GhostBatchNorm):
    """Ghost batch norm whose ghost lies in the processes of `group`; without a group, and in `eval()`, the plain one.

    In training all of them call it together, each with its part of the ghost, and each updates the running statistics
    as the whole ghost does. Unlike `nn.SyncBatchNorm` it computes on CPUs too, and passes float64 between processes.
    """

    group: dist.ProcessGroup | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`x` normalized, in its own shape, dtype and memory format."""
        if self.group is None or not self.training:
            return super().forward(x)
        self._check_input_dim(x)
        factors = self._count(1)
        running = (self.running_mean, self.running_var) if factors else (None, None)
        is_biased = self.running_statistics == "mean-biased"
        y: Tensor = _OverProcesses.apply(x, self.weight, self.bias, *running, factors, is_biased, self.eps, self.group)
        return y


class _OverProcesses(torch.autograd.Function):
    """Each pass waits once for the other processes: for their moments, then for their sums of gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        factors: tuple[float, ...],
        is_biased: bool,
        eps: float,
        group: dist.ProcessGroup,
    ) -> Tensor:
        own = moments_of(x)
        rows = own.new_empty(group.size(), len(own))
        dist.all_gather(list(rows.unbind()), own, group)
        row = pooled(rows)
        values, mean_C, var_C = split(row)
        exact = torch.promote_types(x.dtype, torch.float32)
        kept_mean, kept_var = ([t_C[None].to(exact)] for t_C in (mean_C, var_C if is_biased else unbiased(row)))
        update_running(running_mean, running_var, kept_mean, kept_var, factors)
        mean, inverse_std = (_placed(t_C.to(exact), x) for t_C in (mean_C, (var_C + eps).rsqrt()))
        scale = inverse_std if weight is None else inverse_std * _placed(weight, x)
        shift = -mean * scale if bias is None else torch.addcmul(_placed(bias, x), mean, scale, value=-1)
        y = torch.addcmul(shift, x, scale, out=torch.empty_like(x))
        ctx.save_for_backward(x, mean, inverse_std, scale, values)
        ctx.group, ctx.has_weight, ctx.has_bias = group, weight is not None, bias is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        """With e = (x - mean)/std, over the ghost: weight (grad_y - mean(grad_y) - e mean(e grad_y))/std for x."""
        x, mean, inverse_std, scale, values = ctx.saved_tensors
        centred = x - mean
        grad_bias_C = grad_y.sum(_within(x), dtype=mean.dtype)
        grad_weight_C = (centred * grad_y).sum(_within(x)) * inverse_std.flatten()
        sums_2C = torch.stack([grad_bias_C, grad_weight_C]).double()
        dist.all_reduce(sums_2C, group=ctx.group)
        of_y, of_e = (_placed(mean_C.to(mean.dtype), x) for mean_C in sums_2C / -values)
        rest = torch.addcmul(of_y * scale, centred, of_e * inverse_std * scale)
        grad_x = torch.addcmul(rest, grad_y, scale, out=torch.empty_like(x))
        grads = grad_weight_C if ctx.has_weight else None, grad_bias_C if ctx.has_bias else None
        return grad_x, *grads, *[None] * 6


def _placed(t_C: Tensor, x: Tensor) -> Tensor:
    """A value per channel, where the channels of `x` are."""
    return t_C.view(-1, *[1] * (x.dim() - 2))


def _within(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]
