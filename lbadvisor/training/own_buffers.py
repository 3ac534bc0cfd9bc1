"""The buffers of the user's own network besides batch norm's: several ranks do not share them."""

from torch import nn

from lbadvisor.records.numerals import listed
from lbadvisor.training.state import TrainState

MOST_NAMED = 3


def own_buffers_note(state: TrainState) -> str | None:
    """What to say if a batch is cut into shares for a network of the user's own that saves such buffers."""
    if state.ranks.shares == 1 or state.recipe.model.factory is None:
        return None
    model = state.model
    layers = (layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm))
    shared, saved = {id(buffer) for layer in layers for buffer in layer.buffers()}, model.state_dict().keys()
    names = [name for name, buffer in model.named_buffers() if name in saved and id(buffer) not in shared]
    if not names:
        return None
    if len(names) > MOST_NAMED:
        names = [*names[:MOST_NAMED], f"{len(names) - MOST_NAMED} more"]
    return (
        f"the network's own buffers ({listed(names)}) are not shared among ranks: if training changes them, each rank "
        "computes with its own, the checkpoint has rank 0's, and the result depends on the number of ranks"
    )
