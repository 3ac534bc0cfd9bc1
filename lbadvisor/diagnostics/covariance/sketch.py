"""Gradients in a few thousand numbers that keep their inner products, so that many can be held side by side.

A count sketch (Charikar, Chen, Farach-Colton 2002, Finding frequent items in data streams): each coordinate is added,
with a random sign, to one of a group's buckets. Inner products are kept in the mean; for b buckets the standard
deviation is at most sqrt(2/b) of the product of the two norms, 3% for one group and less for several. P parameters,
Q buckets.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lbadvisor.nn.layer_groups import layer_groups
from lbadvisor.training.seeds import generator

BUCKETS = 2048
"""Of each group of layers; a group with fewer parameters is kept as it is."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """The bucket and the sign of each parameter, and the names of the groups, each with its buckets."""

    parameters: tuple[int, ...]
    buckets_P: Tensor
    signs_P: Tensor
    groups: dict[str, slice]

    def of(self, gradients: list[Tensor]) -> Tensor:
        """The sketch of a gradient, given as those of `model.parameters()`: float64 (Q,), on the CPU."""
        flat_P = torch.cat([gradients[place].flatten() for place in self.parameters]) * self.signs_P
        size = max(buckets.stop for buckets in self.groups.values())
        return flat_P.new_zeros(size).index_add_(0, self.buckets_P, flat_P).double().cpu()


def sketch_of(model: nn.Module, seed: int) -> Sketch:
    """A function of the seed: the same for two models of the same network, so their sketches can be compared."""
    sizes = [parameter.numel() for parameter in model.parameters()]
    draws, first = generator(seed, "sketch", 0), 0
    places: list[int] = []
    buckets, signs, groups = [], [], {}
    for name, of_group in layer_groups(model).items():
        places += of_group
        size = sum(sizes[place] for place in of_group)
        count = min(size, BUCKETS)
        drawn_P = torch.arange(size) if size == count else torch.randint(count, (size,), generator=draws)
        buckets.append(drawn_P + first)
        signs.append(torch.randint(2, (size,), generator=draws).float() * 2 - 1)
        groups[name] = slice(first, first + count)
        first += count
    device = next(model.parameters()).device
    return Sketch(tuple(places), torch.cat(buckets).to(device), torch.cat(signs).to(device), groups)
