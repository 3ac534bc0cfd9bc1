"""Ghost batch norm for any network."""

from torch import nn

from lbadvisor.errors import UsageError
from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm, Layout
from lbadvisor.running_statistics import RunningStatistics
from lbadvisor.training.micro_batches import has_batch_norm


def convert_ghost_batchnorm(
    model: nn.Module,
    ghost_batch_size: int | None,
    running_statistics: RunningStatistics = "sequential",
    layout: Layout = "contiguous",
) -> nn.Module:
    """`model` with every batch norm in it, synchronized ones too, replaced by a `GhostBatchNorm`.

    In training each slice of `ghost_batch_size` examples of a batch is normalized on its own: Hoffer et al. 2017
    (arXiv:1705.08741), Algorithm 1. Parameters, buffers and `state_dict` stay the same, so an optimizer that was
    made before still fits. See `GhostBatchNorm` for `running_statistics` and `layout`, and for several GPUs.

        >>> import lbadvisor, torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.BatchNorm1d(4))
        >>> lbadvisor.convert_ghost_batchnorm(model, 128)[1].ghost_batch_size
        128

    Raises `UsageError` if the model has no batch norm, or the plan no ghosts, and `ValueError` for a size below 1.
    """
    if ghost_batch_size is None:
        raise UsageError("ghost_batch_size is None, as in a plan without ghost batches: leave this out")
    if not has_batch_norm(model):
        raise UsageError(f"{type(model).__name__} has no batch norm, so ghost batches have no effect: leave this out")
    return GhostBatchNorm.convert_ghost_batchnorm(model, ghost_batch_size, running_statistics, layout)
