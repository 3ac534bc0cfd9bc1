"""The mean and the noise of a gradient from its squared norms over two batches of different size.

Gradients of M examples have E|G|^2 = |g|^2 + tr S v: of the mean gradient g, the covariance S of one example's
gradient, and a factor v, which is 1/M for examples drawn with replacement.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def two_batch_moments(of_small: float, of_big: float, v_small: float, v_big: float) -> tuple[float, float]:
    """Unbiased estimates of |g|^2 and tr S from |G|^2 over a small and over a big batch; |g|^2 may come out below 0.

    tr S = (|G_small|^2 - |G_big|^2)/(v_small - v_big) and |g|^2 = |G_big|^2 - tr S v_big: with v = 1/M these are the
    estimators of McCandlish et al. 2018 (arXiv:1812.06162). The batches may share examples.
    """
    variance = (of_small - of_big) / (v_small - v_big)
    return of_big - variance * v_big, variance


def squared_norm(gradients: Sequence[Tensor]) -> float:
    """|G|^2 over all parameters."""
    return float(torch.nn.utils.get_total_norm(gradients).double() ** 2)


def rest_of(both: Sequence[Tensor], one: Sequence[Tensor], size: int, first: int) -> list[Tensor]:
    """The mean gradient of the other examples: `both` is that of `size` of them, `one` that of the `first`."""
    return [(size * of_both - first * of_one) / (size - first) for of_both, of_one in zip(both, one, strict=True)]


def variance_factor(first: int, size: int, examples: int) -> float:
    """V for the `size` examples from place `first` on of an endless stream of shuffled epochs of `examples` each.

    Within one epoch it is 1/M - 1/N, that of a draw without replacement; a whole epoch has no variance. A batch with
    a, b, ... examples of different epochs has 1/M - (a^2 + b^2 + ...)/(M^2 N).
    """
    squares, place, end = 0, first, first + size
    while place < end:
        part = min(end, (place // examples + 1) * examples) - place
        squares, place = squares + part**2, place + part
    return 1 / size - squares / (size**2 * examples)


@contextmanager
def untracked(model: nn.Module) -> Iterator[None]:
    """While entered, batch norm computes as in training but leaves its running statistics as they are."""
    layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
