"""Cuts a batch into slices, only to save memory. B examples of a batch, K classes."""

import torch
from torch import Tensor, nn

from lbadvisor.errors import DataError
from lbadvisor.planning.batch_division import WholeBatch
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Compute
from lbadvisor.training.batch import UpdateBatch
from lbadvisor.training.compilation import Forward
from lbadvisor.training.goal import CROSS_ENTROPY, Goal
from lbadvisor.training.own_code import described
from lbadvisor.training.precision import autocast
from lbadvisor.training.regularization import Dropout
from lbadvisor.training.summed_gradients import passing


def has_batch_norm(model: nn.Module) -> bool:
    """Whether a layer of `model` computes statistics over its batch."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules())


def whole_batch(recipe: Recipe, model: nn.Module) -> WholeBatch:
    """The recipe's batch, as the network's batch norm lets it be divided."""
    return WholeBatch.of(recipe, has_batch_norm=has_batch_norm(model))


def backward(
    forward: Forward,
    batch: UpdateBatch,
    sizes: tuple[int, ...],
    compute: Compute,
    dropout: Dropout | None = None,
    goal: Goal = CROSS_ENTROPY,
) -> Tensor:
    """Add the gradients of the batch's mean loss to those of the parameters; that loss, shape ().

    With weights, the gradients are those of the weighted mean; the returned loss is unweighted. With factors, it is the
    loss under that dropout. A share of a batch adds what it contributes to both; if `forward` is distributed, the ranks
    begin to sum the gradients.

    The batch goes through the network in slices of `sizes` examples, each loss weighted by its slice's share, so the
    sum is the mean over the batch even if the last slice is shorter. Compared with the batch in one piece, the ghost
    batches are the same and their running statistics get the same sequence of updates (equal bits on a CPU; on a GPU
    or compiled, which sums them in closed form, equal up to rounding); loss and gradients are equal up to rounding. A
    network's own dropout layers draw a mask per slice: from the same distribution, but different masks.
    """
    losses = []
    for number, part in enumerate(batch.cut(sizes), start=1):
        if dropout is not None:
            dropout.factors_BF = part.factors_BF
        with passing(forward, is_last=number == len(sizes)):
            outputs = outputs_of(forward, part.inputs, compute)
            weight = len(part.targets) / batch.whole_size
            loss = weighted = goal.mean(outputs, part.targets) * weight
            if part.weights_B is not None:
                weighted = (part.weights_B * goal.each(outputs, part.targets)).mean() * weight
            weighted.backward()
        losses.append(loss.detach())
    if dropout is not None:
        dropout.factors_BF = None
    return sum(losses[1:], start=losses[0])


def outputs_of(forward: Forward, inputs: Tensor, compute: Compute) -> Tensor:
    """The network's outputs, such as logits (B, K), computed in the recipe's precision: at least float32.

    Raises `DataError` if they are not one tensor with a row for each example.
    """
    with autocast(compute, inputs.device):
        outputs = forward(inputs)
    if not isinstance(outputs, Tensor) or outputs.shape[:1] != inputs.shape[:1]:
        raise DataError(
            f"the network must give one tensor with a row for each of the {len(inputs)} examples, gives "
            f"{described(outputs)}"
        )
    # The loss is computed outside autocast: bfloat16's 8 bits would be too coarse.
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))
