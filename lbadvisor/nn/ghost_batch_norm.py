"""Batch norm over ghost batches: Hoffer, Hubara, Soudry 2017 (arXiv:1705.08741), Algorithm 1.

Shapes: N examples, C channels, K ghosts; `x` is (N, C) or (N, C, ...), with any spatial dimensions.
"""

from collections.abc import Callable
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lbadvisor.batch_cuts import ghost_slices
from lbadvisor.nn.all_ghosts_at_once import AllGhostsAtOnce, by_ghost
from lbadvisor.nn.ghost_statistics import accumulate, statistic_of_ghosts, update_running
from lbadvisor.running_statistics import DEFINITIONS, RunningStatistics

Layout = Literal["contiguous", "interleaved"]

_backward = torch.ops.aten.native_batch_norm_backward.out


def interleaved_order(batch_size: int, ghost_batch_size: int) -> Tensor:
    """Which example of a batch lies at each place of the interleaved layout: int64 (N,).

    `x[order]` has, at the places j, j + K, j + 2K, ..., what ghost j of the K of one size has as a slice of `x`; a last
    ghost of another size stays a slice at the end.
    """
    sizes = ghost_slices(batch_size, ghost_batch_size)
    return torch.cat([places_KG.t().flatten() for places_KG in by_ghost(sizes, torch.arange(batch_size))])


class GhostBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm of (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W) with statistics per ghost batch.

    Source: Hoffer et al. 2017 (arXiv:1705.08741), Algorithm 1.

    In training each contiguous slice of `ghost_batch_size` examples (see `ghost_slices`) is normalized with its own
    mean and variance. With `layout="interleaved"` a ghost is every K-th example instead (see `interleaved_order`): one
    native batch norm on a view does it, faster than slices, and much faster beside a busy process, if the input is
    contiguous; in another memory format it is copied. In `eval()` it is plain batch norm. The `state_dict` is that of
    `nn.BatchNorm`. Calling it in training raises `ValueError` if a ghost has a single value per channel, which has no
    variance, or, like torch, if `eps` is not above 0.

    `running_statistics` names how a batch of n ghosts updates the running statistics:

    - "sequential": n `nn.BatchNorm` updates with `momentum`, ghost by ghost. This is what the paper's released code
      does (github eladhoffer/bigBatch, main_gbn.py); the weights printed in the paper do not sum to one.
    - "per-update": the same with `momentum` / n, so that a batch weighs about `momentum` (github mosaicml/composer).
      It has no cumulative average: a `momentum` of None raises `ValueError`.
    - "mean", "mean-biased", "total": one update with `momentum` and one statistic of all ghosts; see
      `statistic_of_ghosts`.

    With one ghost, all but "mean-biased" equal `nn.BatchNorm`. `num_batches_tracked` counts these updates.

    On several GPUs, every process has its own ghosts and needs no synchronization. Because this layer is a batch norm,
    `nn.SyncBatchNorm.convert_sync_batchnorm` silently replaces it, and the ghosts are gone. So leave out that call (and
    whatever makes it: Lightning's `sync_batchnorm=True`, timm's `--sync-bn`), or convert to ghosts last, which in turn
    replaces the synchronized layers:

        >>> import lbadvisor
        >>> from torch import nn
        >>> model = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm1d(8)))
        >>> type(lbadvisor.convert_ghost_batchnorm(model, 128)[0]).__name__
        'GhostBatchNorm'

    For a ghost that spans several processes, use `nn.SyncBatchNorm` instead, in process groups of
    ghost batch size / batch size of a process.
    """

    def __init__(
        self,
        num_features: int,
        ghost_batch_size: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        running_statistics: RunningStatistics = "sequential",
        layout: Layout = "contiguous",
    ) -> None:
        if not isinstance(ghost_batch_size, int) or ghost_batch_size < 1:
            raise ValueError(f"ghost_batch_size is {ghost_batch_size}: it must be a whole number of at least 1")
        if running_statistics not in DEFINITIONS:
            raise ValueError(f"unknown running statistics `{running_statistics}`: choose from {', '.join(DEFINITIONS)}")
        if running_statistics == "per-update" and momentum is None:
            raise ValueError('running_statistics="per-update" needs a momentum')
        if layout not in get_args(Layout):
            raise ValueError(f"unknown layout `{layout}`: choose from {', '.join(get_args(Layout))}")
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        self.ghost_batch_size = ghost_batch_size
        self.running_statistics = running_statistics
        self.layout = layout

    @classmethod
    def convert_ghost_batchnorm(
        cls,
        module: nn.Module,
        ghost_batch_size: int,
        running_statistics: RunningStatistics = "sequential",
        layout: Layout = "contiguous",
    ) -> nn.Module:
        """`module` with every batch norm in it replaced by a `GhostBatchNorm` of `ghost_batch_size` examples.

        Shares parameters and buffers with the replaced layers and keeps the training flag, like
        `nn.SyncBatchNorm.convert_sync_batchnorm`. A `module` that is itself a batch norm is returned as a new layer.
        """
        converted = module
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            converted = cls._sharing(module, ghost_batch_size, running_statistics, layout)
        for name, child in module.named_children():
            converted.add_module(name, cls.convert_ghost_batchnorm(child, ghost_batch_size, running_statistics, layout))
        return converted

    @classmethod
    def _sharing(
        cls,
        layer: nn.modules.batchnorm._BatchNorm,
        ghost_batch_size: int,
        running_statistics: RunningStatistics,
        layout: Layout,
    ) -> Self:
        ghost = cls(
            layer.num_features,
            ghost_batch_size,
            layer.eps,
            layer.momentum,
            layer.affine,
            layer.track_running_stats,
            running_statistics=running_statistics,
            layout=layout,
        )
        ghost.weight, ghost.bias = layer.weight, layer.bias
        ghost.running_mean, ghost.running_var = layer.running_mean, layer.running_var
        ghost.num_batches_tracked = layer.num_batches_tracked
        ghost.training = layer.training
        return ghost

    def extra_repr(self) -> str:
        """The settings of the layer, as its `repr` shows them."""
        plain = super().extra_repr()  # type: ignore[no-untyped-call]
        return (
            f"{plain}, ghost_batch_size={self.ghost_batch_size}, running_statistics={self.running_statistics}, "
            f"layout={self.layout}"
        )

    def forward(self, x: Tensor) -> Tensor:
        """`x` normalized, in its own shape, dtype and memory format."""
        self._check_input_dim(x)
        if not self.training:
            return super().forward(x)
        sizes = ghost_slices(x.size(0), self.ghost_batch_size)
        if min(sizes) * x[0, 0].numel() == 1:
            raise ValueError(
                f"a ghost of 1 example has one value per channel and so no variance: "
                f"a batch of {x.size(0)} is cut into ghosts of {', '.join(map(str, sizes))}"
            )
        if not self.eps > 0:
            raise ValueError(f"batch_norm eps must be positive, but got {self.eps}")
        if len(sizes) == 1 and self.running_statistics != "mean-biased":
            return super().forward(x)
        normalize = self._normalize_on(x.device)
        ghost_by_ghost = self.running_statistics in ("sequential", "per-update")
        factors = self._count(len(sizes) if ghost_by_ghost else 1)
        running_mean, running_var = (self.running_mean, self.running_var) if factors else (None, None)
        if ghost_by_ghost or running_mean is None or running_var is None:
            y: Tensor = normalize(x, self.weight, self.bias, running_mean, running_var, sizes, factors, self.eps)
            return y
        mean_KC, var_KC = (running.new_zeros(len(sizes), x.size(1)) for running in (running_mean, running_var))
        y = normalize(x, self.weight, self.bias, mean_KC, var_KC, sizes, (1.0,) * len(sizes), self.eps)
        statistic = statistic_of_ghosts(self.running_statistics, mean_KC, var_KC, sizes, x[0, 0].numel())
        for running, new_C in zip((running_mean, running_var), statistic, strict=True):
            accumulate(running, new_C[None], factors)
        return y

    def _normalize_on(self, device: torch.device) -> Callable[..., Tensor]:
        """The form that is fastest there."""
        if self.layout == "interleaved":
            return normalize_interleaved
        # A compiler cannot see into calls of the native kernels; it fuses the other form's sweeps with others.
        if torch.compiler.is_compiling():
            return normalize_at_once
        form: Callable[..., Tensor] = (_SliceBySlice if device.type == "cpu" else AllGhostsAtOnce).apply
        return form

    def _count(self, updates: int) -> tuple[float, ...]:
        """Count this many updates of the running statistics; returns their weights, empty if none are tracked."""
        if not self.track_running_stats or self.num_batches_tracked is None:
            return ()
        self.num_batches_tracked.add_(updates)
        if self.momentum is not None:
            return (self.momentum / (updates if self.running_statistics == "per-update" else 1),) * updates
        tracked = int(self.num_batches_tracked)
        return tuple(1 / seen for seen in range(tracked - updates + 1, tracked + 1))

    def _check_input_dim(self, input: Tensor) -> None:
        if not 2 <= input.dim() <= 5:
            raise ValueError(f"expected 2D to 5D input (got {input.dim()}D input)")


class _SliceBySlice(torch.autograd.Function):
    """The native kernels, ghost by ghost, writing into one output.

    A ghost fits into the processor's cache, which makes up for the many calls (tests/benchmarks/ghost_batch_norm.py),
    and the running statistics are sequential by construction. One function rather than one per ghost: nothing is
    concatenated. `running_mean` and `running_var` are (C), updated by every ghost, or (K, C), a row for each ghost.
    """

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
        x = x.contiguous(memory_format=_memory_format(x))
        y = torch.empty_like(x)
        # Under autocast, x is in half precision and the statistics are in the parameters' precision.
        known = next((t for t in (weight, running_mean) if t is not None), x)
        mean_KC = known.new_empty(len(sizes), x.size(1))
        inverse_std_KC = torch.empty_like(mean_KC)
        ghosts = len(sizes)
        running = (
            (None,) * ghosts if statistics is None else statistics.expand(ghosts, -1)
            for statistics in (running_mean, running_var)
        )
        slices = zip(
            x.split(sizes), y.split(sizes), *running, mean_KC, inverse_std_KC, factors or (0.0,) * ghosts, strict=True
        )
        for x_ghost, y_ghost, running_mean_C, running_var_C, mean_C, inverse_std_C, factor in slices:
            torch.native_batch_norm(
                x_ghost,
                weight,
                bias,
                running_mean_C,
                running_var_C,
                True,
                factor,
                eps,
                out=(y_ghost, mean_C, inverse_std_C),
            )
        ctx.save_for_backward(x, weight, mean_KC, inverse_std_KC)
        ctx.sizes, ctx.eps, ctx.has_bias = sizes, eps, bias is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean_KC, inverse_std_KC = ctx.saved_tensors
        grad_x = torch.empty_like(x)
        grad_weight_KC, grad_bias_KC = torch.empty_like(mean_KC), torch.empty_like(mean_KC)
        slices = zip(
            x.split(ctx.sizes),
            grad_y.split(ctx.sizes),
            mean_KC,
            inverse_std_KC,
            grad_x.split(ctx.sizes),
            grad_weight_KC,
            grad_bias_KC,
            strict=True,
        )
        for x_ghost, grad_y_ghost, mean_C, inverse_std_C, grad_x_ghost, grad_weight_C, grad_bias_C in slices:
            _backward(
                grad_y_ghost,
                x_ghost,
                weight,
                None,
                None,
                mean_C,
                inverse_std_C,
                True,
                ctx.eps,
                [True, True, True],
                out0=grad_x_ghost,
                out1=grad_weight_C,
                out2=grad_bias_C,
            )
        grad_weight = None if weight is None else grad_weight_KC.sum(0)
        grad_bias = grad_bias_KC.sum(0) if ctx.has_bias else None
        return grad_x, grad_weight, grad_bias, None, None, None, None, None


def _memory_format(x: Tensor) -> torch.memory_format:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    last = formats.get(x.dim(), torch.contiguous_format)
    if not x.is_contiguous() and x.is_contiguous(memory_format=last):
        return last
    return torch.contiguous_format


def normalize_at_once(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    sizes: tuple[int, ...],
    factors: tuple[float, ...],
    eps: float,
) -> Tensor:
    """`x` normalized ghost by ghost, all ghosts of one size in one sweep; updates running statistics in place.

    For a compiler, which differentiates it and fuses its sweeps with others. `sizes` comes from `ghost_slices`: only
    the last may differ; `factors` are those of `accumulate`. If the running statistics are (K, C) instead of (C), each
    ghost's own mean and unbiased variance are stored. Half precision is computed in float32.
    """
    per_channel = (-1, *[1] * (x.dim() - 2))
    outputs, means, variances = [], [], []
    for x_equal in by_ghost(sizes, x):
        x_KG = x_equal.to(torch.promote_types(x.dtype, torch.float32))
        var, mean = torch.var_mean(x_KG, [1, *range(3, x_KG.dim())], correction=0, keepdim=True)
        scale = (var + eps).rsqrt()
        if weight is not None:
            scale = scale * weight.view(per_channel)
        shift = -mean * scale
        if bias is not None:
            shift = shift + bias.view(per_channel)
        outputs.append(torch.addcmul(shift, x_KG, scale).to(x.dtype).flatten(0, 1))
        values = x_KG[0, :, 0].numel()
        means.append(mean.detach().flatten(1))
        variances.append(var.detach().flatten(1) * (values / (values - 1)))
    update_running(running_mean, running_var, means, variances, factors)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def normalize_interleaved(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    sizes: tuple[int, ...],
    factors: tuple[float, ...],
    eps: float,
) -> Tensor:
    """The same for the interleaved layout: plain batch norm of K C channels, over a view of the K ghosts of one size.

    Output and gradients have the bits of the slices', running statistics are equal up to rounding.
    """
    known = next((t for t in (weight, running_mean) if t is not None), x)
    mean_KC, var_KC = (known.new_zeros(len(sizes), x.size(1)) for _ in range(2))
    outputs, begin = [], 0
    for part_KG in by_ghost(sizes, x):
        ghosts, size, channels, *space = part_KG.shape
        view = part_KG.reshape(size, ghosts * channels, *space)
        scale, shift = (None if t is None else t.expand(ghosts, -1).flatten() for t in (weight, bias))
        mean, var = (t[begin : begin + ghosts].view(-1) for t in (mean_KC, var_KC))
        y = nn.functional.batch_norm(view, mean, var, scale, shift, True, 1.0, eps)
        outputs.append(y.view(ghosts * size, channels, *space))
        begin += ghosts
    update_running(running_mean, running_var, [mean_KC], [var_KC], factors)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)
