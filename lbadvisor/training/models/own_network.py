"""The network that the user's own code makes."""

import torch
from torch import nn

from lbadvisor.errors import DataError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.own_code import CodeFolders, described, factories_of, seed_all


def own_network(recipe: Recipe, seed: int, code: CodeFolders) -> nn.Module:
    """What the recipe's factory makes, its weights drawn from the global generators of torch, Python or numpy.

    It is made twice: a resumed run makes the first weights anew, to measure how far its own have come. Raises
    `DataError` if they are not the same twice, and what `Factory.make` raises.
    """
    factory, made = factories_of(recipe)["model"], []
    for _ in range(2):
        seed_all(seed, "weights", 0)
        network = factory.make(code)
        if not isinstance(network, nn.Module):
            hint = "return a torch.nn.Module"
            raise factory.wrong(f"{factory.name} returned {described(network)}, not a network", hint)
        made.append(network)
    one, two = (network.state_dict() for network in made)
    if one.keys() != two.keys() or any(not torch.equal(one[name], two[name]) for name in one):
        raise DataError(
            f"{factory.name} gives other weights each time: draw them from the global generators of torch, Python or "
            "numpy, which are seeded, or from one that you seed"
        )
    if not any(p.requires_grad for p in made[0].parameters()):
        raise factory.wrong(f"{factory.name} returned a network without parameters to train", "give it some")
    return made[0]
