"""Trains several recipes in one start of several ranks; rank 0 writes what came of them, and how a layer fared.

    RANK=... WORLD_SIZE=... python tests/trained_on_ranks.py OUT RECIPES

RECIPES is a JSON object of recipes by name; OUT is read by `torch.load`.
"""

import json
import sys
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lbadvisor.nn.spanning_batch_norm import SpanningBatchNorm
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.data.preparation import load_dataset
from lbadvisor.training.loop import train
from lbadvisor.training.machine import Machine
from lbadvisor.training.ranks import ALONE, Ranks, joined
from lbadvisor.training.state import content_of


def trained(body: dict[str, Any], ranks: Ranks = ALONE) -> dict[str, Any]:
    """What a training ends with, and what was measured."""
    recipe, machine = in_updates(Recipe.model_validate(body)), Machine.here("cpu")
    dataset = load_dataset(recipe, machine.data_dir, machine.device)
    state = machine.start(recipe, 0, dataset)
    if recipe.name == "dropped":
        state.model.insert(1, nn.Dropout(0.3))  # before every batch norm, as in a network of the user's own
    state.ranks, names = ranks, list(state.model.state_dict())
    measured = [
        [m.measurement.loss, m.measurement.gradient_norm, m.measurement.evaluation_loss or 0.0]
        + [reading.value for reading in m.readings]
        for m in train(state, dataset)
        if m is not None
    ]
    content = content_of(state)
    assert list(content["model"]) == names
    return {"model": content["model"], "optimizer": content["optimizer"]["state"], "measured": measured}


CUTS = {2: (3, 5), 4: (1, 2, 3, 2)}
"""Of 8 examples, how many each rank has."""


def layer_errors(ranks: Ranks) -> dict[str, float]:
    """The largest error of a layer over the ranks next to torch's over all examples, relative to the largest value."""
    errors = {}
    for dtype in (torch.float64, torch.float32):
        for shape in ((8, 5), (8, 5, 6), (8, 5, 4, 3), (8, 5, 2, 3, 2)):
            for affine, momentum in ((True, 0.1), (False, None)):
                for last in (False, True) if len(shape) == 4 else (False,):
                    case = f"{dtype} {shape} affine={affine} momentum={momentum} channels_last={last}"
                    errors[case] = layer_error(ranks, shape, dtype, affine, momentum, last)
    return errors


def layer_error(
    ranks: Ranks, shape: tuple[int, ...], dtype: torch.dtype, affine: bool, momentum: float | None, last: bool
) -> float:
    draws = torch.Generator().manual_seed(3)
    x, grad_y = (torch.randn(shape, generator=draws, dtype=dtype) for _ in range(2))
    if last:
        x, grad_y = (t.to(memory_format=torch.channels_last) for t in (x, grad_y))
    x = 10 + 3 * x
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[len(shape)]
    plain, other = (kind(shape[1], affine=affine, momentum=momentum, dtype=dtype) for _ in range(2))
    own = SpanningBatchNorm.convert_ghost_batchnorm(other, len(x))
    own.group = ranks.neighbours(ranks.size)
    for layer in (plain, own) if affine else ():
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(-1, 2, shape[1]))
            layer.bias.copy_(torch.linspace(3, 1, shape[1]))
    sizes = CUTS[ranks.size]
    here = slice(sum(sizes[: ranks.rank]), sum(sizes[: ranks.rank + 1]))
    for _ in range(2):
        x_all, x_here = x.clone().requires_grad_(), x[here].clone().requires_grad_()
        y_all, y_here = plain(x_all), own(x_here)
        y_all.backward(grad_y)
        y_here.backward(grad_y[here])
    assert y_here.stride() == torch.empty_like(x_here).stride()
    assert own.num_batches_tracked == plain.num_batches_tracked == 2
    pairs = [(y_here, y_all[here]), (x_here.grad, x_all.grad[here]), (own.running_mean, plain.running_mean)]
    pairs.append((own.running_var, plain.running_var))
    for mine, theirs in zip(own.parameters(), plain.parameters(), strict=True):
        dist.all_reduce(mine.grad)
        pairs.append((mine.grad, theirs.grad))
    return max(_error(mine, theirs) for mine, theirs in pairs)


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def main(out: str, recipes: str) -> None:
    with joined() as ranks:
        errors = layer_errors(ranks)
        found = {name: trained(body, ranks) for name, body in json.loads(recipes).items()}
        if ranks.is_first:
            torch.save({"trained": found, "layer": errors}, out)
        ranks.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
