"""What an update adds to batch norm's running statistics. K ghosts, C channels."""

from functools import lru_cache

import torch
from torch import Tensor

from lbadvisor.running_statistics import RunningStatistics


def statistic_of_ghosts(
    definition: RunningStatistics, mean_KC: Tensor, var_KC: Tensor, sizes: tuple[int, ...], space: int
) -> tuple[Tensor, Tensor]:
    """The single mean (C) and variance (C) that a batch of ghosts adds to the running statistics.

    `mean_KC` and `var_KC` are each ghost's mean and unbiased variance; ghost k has `sizes[k]` examples of `space`
    values per channel. The mean is that of the ghosts' means, weighted by their sizes, which is the whole batch's.
    With v_k values in ghost k, V in all, the variance is

    - "mean": the mean of the unbiased variances, weighted like the means (tf-keras, cifar10-fast);
    - "mean-biased": the same with the biased variances, (v_k - 1)/v_k of the unbiased (arXiv:2305.17205);
    - "total": the whole batch's, sum of (v_k - 1) var_k + v_k (mean_k - mean)^2, over V - 1 (arXiv:1906.03548, which
      divides by V; here by V - 1, as `nn.BatchNorm` does).

    Raises `ValueError` for any other definition.
    """
    weights_K = _constant(tuple(size / sum(sizes) for size in sizes), mean_KC)
    mean_C = _weighted(weights_K, mean_KC)
    values_K = _constant(tuple(size * space for size in sizes), var_KC)
    match definition:
        case "mean":
            return mean_C, _weighted(weights_K, var_KC)
        case "mean-biased":
            return mean_C, _weighted(weights_K * (values_K - 1) / values_K, var_KC)
        case "total":
            squares_C = _weighted(values_K - 1, var_KC) + _weighted(values_K, (mean_KC - mean_C).square())
            return mean_C, squares_C / (sum(sizes) * space - 1)
    raise ValueError(f"{definition} running statistics are updated ghost by ghost")


def accumulate(running: Tensor, statistic_KC: Tensor, factors: tuple[float, ...]) -> None:
    """Update `running` (C) in place as K batch-norm updates would, number i with weight f_i from `factors`.

    In closed form: prod(1 - f_i) * running + sum of f_i * prod over j > i of (1 - f_j) * statistic_i; the weights sum
    to one.
    """
    keep, weights = 1.0, []
    for factor in reversed(factors):
        weights.append(keep * factor)
        keep *= 1 - factor
    weights_K = _constant(tuple(weights[::-1]), statistic_KC)
    running.mul_(keep).add_(_weighted(weights_K, statistic_KC))


def update_running(
    running_mean: Tensor | None,
    running_var: Tensor | None,
    means: list[Tensor],
    variances: list[Tensor],
    factors: tuple[float, ...],
) -> None:
    """Update running statistics (C) as `accumulate` does; if they are (K, C), store each ghost's own."""
    for running, rows in ((running_mean, means), (running_var, variances)):
        if running is None:
            continue
        statistic_KC = rows[0] if len(rows) == 1 else torch.cat(rows)
        if running.dim() == 2:
            running.copy_(statistic_KC)
        else:
            accumulate(running, statistic_KC, factors)


def _constant(values: tuple[float, ...], like: Tensor) -> Tensor:
    """A vector of the dtype and on the device of `like`; made once, for a GPU waits at each copy to it.

    But not while a compiler traces it, or for another kind of tensor than torch's own.
    """
    if torch.compiler.is_compiling() or type(like) is not Tensor:
        return like.new_tensor(values)
    return _kept(values, like.dtype, like.device)


@lru_cache(maxsize=64)
def _kept(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


def _weighted(weights_K: Tensor, statistic_KC: Tensor) -> Tensor:
    """The weighted sum (C). Not a matrix product: under autocast that would be one in half precision."""
    return (weights_K[:, None] * statistic_KC).sum(0)
