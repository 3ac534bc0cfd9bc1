"""Cuts a batch into slices, only to save memory. B examples of a batch, K classes."""

import torch
from torch import Tensor, nn

from lbadvisor.batch_cuts import are_shared, ghost_slices
from lbadvisor.errors import DataError, UsageError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Compute
from lbadvisor.training.batch import UpdateBatch
from lbadvisor.training.compilation import Forward
from lbadvisor.training.goal import CROSS_ENTROPY, Goal
from lbadvisor.training.own_code import described
from lbadvisor.training.precision import autocast
from lbadvisor.training.regularization import Dropout
from lbadvisor.training.summed_gradients import summing


def micro_slices(recipe: Recipe, micro_size: int | None, share: int | None = None) -> tuple[int, ...]:
    """Sizes of the slices that a batch, or a rank's `share` of it, is cut into, in order; None: it is in one piece.

    Slices consist of whole ghost batches: if the batch's remainder joins its last ghost, the last slice is longer by
    that remainder, less than half a ghost. `micro_size` is one that `check_micro_size` accepts. All in examples.
    """
    size, ghost = share or recipe.batch.size, recipe.batch_norm.ghost_batch_size
    if micro_size is None or micro_size >= size:
        return (size,)
    if ghost is None:
        whole, rest = divmod(size, micro_size)
        return (micro_size,) * whole + ((rest,) if rest else ())
    ghosts, each = ghost_slices(size, ghost), micro_size // ghost
    return tuple(sum(ghosts[i : i + each]) for i in range(0, len(ghosts), each))


def check_micro_size(recipe: Recipe, micro_size: int, *, has_batch_norm: bool) -> None:
    """Raise `UsageError` if slices of `micro_size` examples would change the statistics of batch norm.

    Without batch norm any size is fine. Ghost batches must stay whole. Plain batch norm cannot be cut, nor can ghosts
    whose running statistics combine all of them at once, as every definition but sequential does.
    """
    size, ghost = recipe.batch.size, recipe.batch_norm.ghost_batch_size
    if not 1 <= micro_size <= size:
        raise UsageError(f"a micro-batch of {micro_size} is not between 1 and the batch size {size}")
    if not has_batch_norm or micro_size == size:
        return
    if ghost is None:
        raise UsageError(
            f"a batch of {size} cannot be cut into micro-batches of {micro_size}: plain batch norm computes its "
            "statistics over the whole batch; train with ghost batches (batch_norm.ghost_batch_size)"
        )
    if recipe.batch_norm.running_statistics != "sequential":
        raise UsageError(
            f"a batch of {size} cannot be cut into micro-batches of {micro_size}: batch_norm.running_statistics = "
            f"{recipe.batch_norm.running_statistics} combines all ghosts of a batch at once; sequential does not"
        )
    if micro_size % ghost:
        below = micro_size // ghost * ghost
        near = " or ".join(str(m) for m in (below, below + ghost) if 0 < m <= size)
        raise UsageError(
            f"a micro-batch of {micro_size} would cut ghost batches of {ghost}: use a multiple, such as {near}"
        )


def unit_of(recipe: Recipe, *, has_batch_norm: bool) -> int:
    """The examples that a batch is shared in: a ghost, or one if the network has no batch norm."""
    return (recipe.batch_norm.ghost_batch_size or recipe.batch.size) if has_batch_norm else 1


def check_ranks(recipe: Recipe, ranks: int, *, has_batch_norm: bool) -> None:
    """Raise `UsageError` if a batch cannot be shared among so many ranks: each ghost whole, or cut evenly."""
    size, unit = recipe.batch.size, unit_of(recipe, has_batch_norm=has_batch_norm)
    if are_shared(size, unit, ranks):
        return
    ghosts = len(ghost_slices(size, unit))
    below = next(number for number in range(min(ranks, size + 1) - 1, 0, -1) if are_shared(size, unit, number))
    above = (number for number in range(ranks + 1, min(ranks + ghosts, size) + 1) if are_shared(size, unit, number))
    near = " or ".join(map(str, [below, *above]))
    what = f" in {ghosts} ghosts of {unit}" if has_batch_norm and unit < size else ""
    if what and size // ranks > 1:
        near += f", or with ghosts of at most {size // ranks} (batch_norm.ghost_batch_size)"
    raise UsageError(f"a batch of {size}{what} cannot be shared evenly among {ranks} ranks: train it on {near}")


def halved_micro_sizes(recipe: Recipe, *, has_batch_norm: bool) -> tuple[int, ...]:
    """The micro-batches to try if memory is short, largest first: the batch, then about half as much each time.

    In whole ghost batches; only the batch itself if batch norm does not allow cutting it.
    """
    size, ghost = recipe.batch.size, recipe.batch_norm.ghost_batch_size
    if has_batch_norm and (ghost is None or recipe.batch_norm.running_statistics != "sequential"):
        return (size,)
    unit = ghost or 1
    count, sizes = len(ghost_slices(size, unit)), [size]
    while count > 1:
        count = -(-count // 2)
        sizes.append(count * unit)
    return tuple(sizes)


def has_batch_norm(model: nn.Module) -> bool:
    """Whether a layer of `model` computes statistics over its batch."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules())


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
    loss under that dropout. A rank adds what its share contributes to both; if `forward` is distributed, the gradients
    are then summed over the ranks.

    The batch goes through the network in slices of `sizes` examples, each loss weighted by its slice's share, so the
    sum is the mean over the batch even if the last slice is shorter. Compared with the batch in one piece, the ghost
    batches are the same and their running statistics get the same sequence of updates (equal bits on a CPU; on a GPU
    or compiled, which sums them in closed form, equal up to rounding); loss and gradients are equal up to rounding. A
    network's own dropout layers draw a mask per slice: from the same distribution, but different masks.
    """
    losses = []
    parts = _split(batch.weights_B, sizes), _split(batch.factors_BF, sizes)
    slices = list(zip(batch.inputs.split(sizes), batch.targets.split(sizes), *parts, strict=True))
    for number, (inputs, targets, weights, factors) in enumerate(slices, start=1):
        if dropout is not None:
            dropout.factors_BF = factors
        with summing(forward, is_last=number == len(slices)) as times:
            outputs = outputs_of(forward, inputs, compute)
            share = len(targets) / batch.whole_size
            loss = weighted = goal.mean(outputs, targets) * share
            if weights is not None:
                weighted = (weights * goal.each(outputs, targets)).mean() * share
            (weighted if times == 1 else weighted * times).backward()
        losses.append(loss.detach())
    if dropout is not None:
        dropout.factors_BF = None
    return sum(losses[1:], start=losses[0])


def _split(rows: Tensor | None, sizes: tuple[int, ...]) -> tuple[Tensor | None, ...]:
    return (None,) * len(sizes) if rows is None else rows.split(sizes)


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
