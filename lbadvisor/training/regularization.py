"""Dropout, label noise and DropConnect: noise that, the paper finds, cannot replace a small batch's.

It is all drawn on the CPU from (seed, update), so every device and every division into micro-batches sees the same.
Dropping happens in the classifier, after every batch norm: a batch norm after it would see other statistics in training
than in evaluation (Li et al. 2018, arXiv:1801.05134; DropConnect of 0.5 in every layer left F1 at 12% on MNIST).
B examples of a batch, F features that the classifier sees, K classes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lbadvisor.batch_cuts import EVERYTHING
from lbadvisor.errors import DataError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Regularization
from lbadvisor.training.seeds import generator
from lbadvisor.training.transfer import sent


def noisy_labels(
    labels_B: Tensor, share: float, classes: int, seed: int, update: int, own: slice = EVERYTHING, size: int = 0
) -> Tensor:
    """The labels (B, ...), each redrawn with probability `share` uniformly from all classes: int64.

    So a label is wrong with probability share * (K - 1) / K. Source: DisturbLabel, Xie et al. 2016, arXiv:1605.00055.
    They are those at the places `own` of a batch of `size`, for all of which is drawn; without these, all of it.
    """
    draws, shape = generator(seed, "label noise", update), (size or len(labels_B), *labels_B.shape[1:])
    drawn_B = (torch.rand(shape, generator=draws) < share)[own]
    others_B = torch.randint(classes, shape, generator=draws)[own]
    return torch.where(sent(drawn_B, labels_B.device), sent(others_B, labels_B.device), labels_B)


def kept_factors(shape: tuple[int, ...], probability: float, draws: torch.Generator) -> Tensor:
    """0 with `probability`, else 1 / (1 - probability): independent, with mean 1, variance p / (1 - p), float32."""
    return (torch.rand(shape, generator=draws) >= probability).float().div_(1 - probability)


def classifier_of(model: nn.Module) -> nn.Linear:
    """The last layer of `model`, which must be fully connected. Raises `DataError` if it is not."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)]
    if not layers or not isinstance(layers[-1], nn.Linear):
        raise DataError(
            "the network's last layer is not fully connected: remove regularization.dropout and "
            "regularization.drop_connect"
        )
    return layers[-1]


@dataclass(slots=True)
class Dropout:
    """Dropout on the classifier's `features` F inputs; active while `factors_BF` are set.

    Source: Srivastava et al. 2014, JMLR 15.
    """

    features: int
    factors_BF: Tensor | None = None

    def __call__(self, _layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """The classifier's inputs after dropout; None: unchanged. Raises `DataError` if they are not (B, F)."""
        if self.factors_BF is None:
            return None
        if inputs[0].shape != self.factors_BF.shape:
            shape = tuple(inputs[0].shape)
            raise DataError(
                f"regularization.dropout needs a last layer with inputs (B, F), but they are {shape}: remove it"
            )
        return inputs[0] * self.factors_BF, *inputs[1:]


def dropout_in(model: nn.Module, regularization: Regularization) -> Dropout | None:
    """Dropout, attached to the classifier of `model`; None if the recipe has none. Raises `DataError`."""
    if regularization.dropout == 0:
        return None
    classifier = classifier_of(model)
    dropout = Dropout(classifier.in_features)
    classifier.register_forward_pre_hook(dropout)
    return dropout


def dropout_factors(dropout: Dropout, recipe: Recipe, seed: int, update: int) -> Tensor:
    """The factors of the classifier's inputs in an update, float32 (B, F) on the CPU."""
    shape = (recipe.batch.size, dropout.features)
    return kept_factors(shape, recipe.regularization.dropout, generator(seed, "dropout", update))


@contextmanager
def dropped_connections(model: nn.Module, probability: float, seed: int, update: int) -> Iterator[None]:
    """While entered, each weight of the classifier is 0 with `probability`; the others are scaled by 1 / (1 - p).

    On exit the weights are restored, and the gradients that backward added are converted to theirs: with factors m, the
    gradient of L(w m) is m times that of L at w m. The gradients must be empty before. All examples of the update share
    one mask; Wan et al. 2013 (DropConnect, ICML) draw one for each. Biases are kept. Raises `DataError`.
    """
    if probability == 0:
        yield
        return
    weight = classifier_of(model).weight
    shape = tuple(weight.shape)
    factors = sent(kept_factors(shape, probability, generator(seed, "drop connect", update)), weight.device)
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(factors)
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(kept)
            if weight.grad is not None:
                weight.grad.mul_(factors)
