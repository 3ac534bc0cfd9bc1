"""Multiplicative noise: the paper's alternative way to give a large batch the gradient statistics of a small one."""

import torch
from torch import Tensor

from lbadvisor.recipe.recipe_tables import GradientNoise
from lbadvisor.training.seeds import generator


def noise_weights(noise: GradientNoise, batch_size: int, seed: int, update: int) -> Tensor:
    """The weights z_n of an update's examples in its loss mean(z_n l_n): float32 (batch_size,), on the CPU.

    They are independent, with mean 1 and variance r - 1, where r is the noise's ratio: Gaussian, or r with probability
    1/r and otherwise 0, which trains on a random B/r of the examples. For batches of M drawn with replacement, the
    gradient keeps its mean g and has the covariance (r Q - g g^T)/M, with Q the mean of g_n g_n^T: that of batches of
    M/r, (Q - g g^T) r/M, plus g g^T (r - 1)/M. Source: Hoffer et al. 2017, arXiv:1705.08741. The weights are a function
    of (seed, update), the same on every device.
    """
    draws = generator(seed, "noise", update)
    match noise.kind:
        case "gaussian":
            return torch.randn(batch_size, generator=draws).mul_((noise.ratio - 1) ** 0.5).add_(1)
        case "bernoulli":
            return (torch.rand(batch_size, generator=draws) < 1 / noise.ratio).float().mul_(noise.ratio)
