"""Batch norm's statistics of the whole training set: Precise-BN (Wu, Johnson 2021, arXiv:2105.07576, section 3).

N examples, C channels; `x` is (N, C) or (N, C, ...), with any spatial dimensions.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lbadvisor.nn.moments import moments_of, pooled, split, unbiased

Layer = nn.modules.batchnorm._BatchNorm


def set_population_statistics(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of every batch norm in `model` to the mean and unbiased variance over all `batches`.

    The network computes as in training: each ghost or batch is normalized with its own statistics, and dropout is on;
    parameters and `num_batches_tracked` are kept. All examples weigh the same: the mean is the mean of the ghosts'
    means, and the variance (apart from dividing by one less than the number of values) is the mean of their biased
    variances plus the variance of their means.
    """
    set_statistics(population_moments(model, batches))


def population_moments(model: nn.Module, batches: Iterable[Tensor]) -> dict[Layer, Tensor]:
    """The moments (1 + 2C) of what each batch norm gets, over all `batches`; its running statistics are lost."""
    rows: dict[Layer, list[Tensor]] = {
        layer: [layer.running_mean.new_zeros(1 + 2 * layer.num_features, dtype=torch.float64)]
        for layer in model.modules()
        if isinstance(layer, Layer) and layer.running_mean is not None
    }
    tracked = [layer.num_batches_tracked for layer in rows if layer.num_batches_tracked is not None]
    counts = [count.clone() for count in tracked]
    with torch.no_grad(), _watched(rows):
        for inputs in batches:
            model(inputs)
    for count, before in zip(tracked, counts, strict=True):
        count.copy_(before)
    return {layer: pooled(torch.stack(of_layer)) for layer, of_layer in rows.items()}


def set_statistics(moments: dict[Layer, Tensor]) -> None:
    """Set running statistics to the mean and unbiased variance of these moments (1 + 2C)."""
    with torch.no_grad():
        for layer, row in moments.items():
            for running, statistic_C in ((layer.running_mean, split(row)[1]), (layer.running_var, unbiased(row))):
                if running is not None:
                    running.copy_(statistic_C)


@contextmanager
def _watched(rows: dict[Layer, list[Tensor]]) -> Iterator[None]:
    def watch(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(layer, Layer):
            rows[layer].append(moments_of(inputs[0]))

    handles = [layer.register_forward_pre_hook(watch) for layer in rows]
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
