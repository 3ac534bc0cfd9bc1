"""What is read of each group of layers: how far its weights are from the first ones, and how large they are."""

import torch

from lbadvisor.nn.layer_groups import layer_groups
from lbadvisor.records.quantities import GROUP_DISTANCE, GROUP_NORM
from lbadvisor.records.run import Reading
from lbadvisor.training.state import TrainState


def layer_readings(state: TrainState) -> tuple[Reading, ...]:
    """The readings of every group after the last update."""
    groups = layer_groups(state.model)
    with torch.no_grad():
        moves = [p - w for p, w in zip(state.parameters, state.initial, strict=True)]
        squares_QP = torch.stack([torch.stack(torch._foreach_norm(ts)) for ts in (moves, state.parameters)]).square()
    norms_QG = torch.stack([squares_QP[:, list(places)].sum(1) for places in groups.values()], 1).sqrt().tolist()
    return tuple(
        Reading(state.update, quantity.key, group, norm)
        for quantity, norms_G in zip((GROUP_DISTANCE, GROUP_NORM), norms_QG, strict=True)
        for group, norm in zip(groups, norms_G, strict=True)
    )
