"""The mean and the noise of a gradient, from batches of two sizes.

B examples of a batch, C channels, H height, W width.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.micro_batches import logits_of


def gradient_moments(
    model: nn.Module, recipe: Recipe, images_BCHW: Tensor, labels_B: Tensor, chunks: int, examples: int
) -> tuple[float, float]:
    """Estimates of |g|^2, of the mean gradient, and of tr S, the trace of one example's gradient covariance.

    The batch is cut into `chunks`, which pass through the network (and its batch norm) one at a time; the mean of their
    squared gradient norms is that of the small batch, the squared norm of their mean that of the large one:

        tr S = (|G_small|^2 - |G_big|^2) / (1/B_small - 1/B_big),   |g|^2 = |G_big|^2 - tr S (1/B_big - 1/N)

    unbiased for batches drawn without replacement from N `examples` (McCandlish et al. 2018, arXiv:1812.06162; the 1/N
    matters for sets that are not large). Leaves the model unchanged.
    """
    model = copy.deepcopy(model)
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    total = [torch.zeros_like(p, dtype=torch.float64) for p in parameters]
    squares = []
    for images, labels in zip(images_BCHW.chunk(chunks), labels_B.chunk(chunks), strict=True):
        loss = cross_entropy(logits_of(model, images, recipe.compute), labels)
        gradients = torch.autograd.grad(loss, parameters)
        squares.append(float(torch.nn.utils.get_total_norm(gradients).double() ** 2))
        for sum_, gradient in zip(total, gradients, strict=True):
            sum_ += gradient
    big = len(labels_B)
    small = big / chunks
    of_small = sum(squares) / chunks
    of_big = float(torch.nn.utils.get_total_norm([sum_ / chunks for sum_ in total]) ** 2)
    variance = (of_small - of_big) / (1 / small - 1 / big)
    return of_big - variance * (1 / big - 1 / examples), variance
