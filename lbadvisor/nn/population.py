"""Batch norm's statistics of the whole training set: Precise-BN (Wu, Johnson 2021, arXiv:2105.07576, section 3).

N examples, C channels; `x` is (N, C) or (N, C, ...), with any spatial dimensions.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Moments:
    """Mean and unbiased variance of each channel over all the batches added so far, in float64 (C)."""

    def __init__(self) -> None:
        self._values = 0
        self._mean_C = self._squares_C = torch.zeros((), dtype=torch.float64)

    def add(self, x: Tensor) -> None:
        """Add a batch, with the update of Chan, Golub, LeVeque 1983 (doi:10.1080/00031305.1983.10483115)."""
        x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
        var_C, mean_C = (m.double() for m in torch.var_mean(x, [0, *range(2, x.dim())], correction=0))
        new = x.numel() // x.size(1)
        before, self._values = self._values, self._values + new
        away_C = mean_C - self._mean_C
        self._mean_C = self._mean_C + away_C * (new / self._values)
        self._squares_C = self._squares_C + var_C * new + away_C.square() * (before * new / self._values)

    @property
    def mean(self) -> Tensor:
        """The mean of all values (C)."""
        return self._mean_C

    @property
    def variance(self) -> Tensor:
        """Their unbiased variance (C), as `nn.BatchNorm` keeps it."""
        return self._squares_C / (self._values - 1)


def set_population_statistics(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of every batch norm in `model` to the mean and unbiased variance over all `batches`.

    The network computes as in training: each ghost or batch is normalized with its own statistics, and dropout is on;
    parameters and `num_batches_tracked` are kept. All examples weigh the same: the mean is the mean of the ghosts'
    means, and the variance (apart from dividing by one less than the number of values) is the mean of their biased
    variances plus the variance of their means.
    """
    moments: dict[nn.modules.batchnorm._BatchNorm, Moments] = {
        layer: Moments()
        for layer in model.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None
    }
    tracked = [layer.num_batches_tracked for layer in moments]
    counts = [None if count is None else count.clone() for count in tracked]
    with torch.no_grad(), _watched(moments):
        for images in batches:
            model(images)
    with torch.no_grad():
        for (layer, of_layer), count in zip(moments.items(), counts, strict=True):
            for running, statistic_C in ((layer.running_mean, of_layer.mean), (layer.running_var, of_layer.variance)):
                if running is not None:
                    running.copy_(statistic_C)
            if layer.num_batches_tracked is not None and count is not None:
                layer.num_batches_tracked.copy_(count)


@contextmanager
def _watched(moments: dict[nn.modules.batchnorm._BatchNorm, Moments]) -> Iterator[None]:
    def watch(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            moments[layer].add(inputs[0])

    handles = [layer.register_forward_pre_hook(watch) for layer in moments]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def whole_batches(batches: Iterable[Tensor], batch_size: int, examples: int) -> Iterator[Tensor]:
    """The first `examples` of a stream of batches of `batch_size` examples, each once, in batches of that size.

    A remainder of less than half a batch joins the last one, as with ghosts in `ghost_slices`: no batch, and no ghost
    in it, is much smaller than in training.
    """
    left, held = examples, None
    for batch in batches:
        batch, left = batch[:left], left - len(batch)
        if held is not None and 2 * len(batch) < batch_size:
            held = torch.cat([held, batch])
        else:
            if held is not None:
                yield held
            held = batch
        if left <= 0:
            break
    if held is not None:
        yield held
