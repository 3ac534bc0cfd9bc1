"""What to know of batch norm's statistics: ghosts of a batch, running statistics, ghosts over several devices."""

from collections.abc import Iterator

from lbadvisor.planning import rules
from lbadvisor.planning.baseline import Baseline
from lbadvisor.planning.caveat import Caveat
from lbadvisor.planning.scaling import Scaling
from lbadvisor.running_statistics import DEFINITIONS

SMALL_GHOST = 16
PRECISE = "Wu, Johnson 2021, arXiv:2105.07576"
TORCH = "PyTorch's documentation"


def of_ghosts(scaling: Scaling) -> Iterator[Caveat]:
    """The warnings of a plan."""
    baseline, target = scaling.baseline, scaling.request.target_batch_size
    if "ghost" in scaling.request.parts and not baseline.has_batch_norm:
        yield Caveat("no-batch-norm", "the network has no batch norm, so there is nothing for ghost batches to do")
    if scaling.adapts_ghosts:
        yield from of_ghost_batches(baseline, target, scaling.ghost_batch_size)
    devices = scaling.request.known.devices
    if devices is not None and devices > 1 and baseline.has_batch_norm:
        yield from _of_devices(target, devices, scaling.ghost_batch_size)


def of_ghost_batches(definition: Baseline, target: int, ghost: int | None) -> Iterator[Caveat]:
    """What becomes of ghosts of that size in the target batch, with the batch norm that `definition` has."""
    if ghost is None:
        return
    ghosts, left = divmod(target, ghost)
    if ghosts > 1 and definition.running_statistics == "sequential":
        yield _of_horizon(definition, target, ghost)
    if left and ghosts:
        joined = left < ghost / 2
        yield Caveat(
            "ghost-remainder",
            f"{target} is not a multiple of the ghost size {ghost}: the remaining {left} "
            + ("join the last ghost" if joined else "form a ghost of their own"),
        )
    if ghost < SMALL_GHOST:
        yield Caveat(
            "small-ghost",
            f"ghosts of {ghost} examples: in layers with one value per example and channel, the standard deviation "
            f"is underestimated (by 5% at 16), and more so below {SMALL_GHOST}",
        )


def _of_horizon(definition: Baseline, target: int, ghost: int) -> Caveat:
    """N ghosts move the running statistics n times per update, so that old ones keep (1 - m)^n of their weight."""
    ghosts, momentum = target // ghost, definition.batch_norm_momentum
    averaged = DEFINITIONS["sequential"].horizon_ghosts(momentum, target / ghost)
    exact = "" if definition.recomputes_statistics else f", or recompute_at_end to true for exact ones ({PRECISE})"
    return Caveat(
        "running-statistics-horizon",
        f"each update moves the running statistics {ghosts} times (momentum {momentum:g}): evaluation uses an "
        f"average of about {averaged:.3g} ghosts, or {averaged * ghost / target:.2g} batches, and an update leaves "
        f"(1 - {momentum:g})^{ghosts} = {(1 - momentum) ** ghosts:.2g} of the old ones; this keeps the horizon in "
        f"examples ({rules.HOFFER_CODE}); to keep it in updates, set running_statistics in [batch_norm] to "
        f"per-update{exact}",
    )


def _of_devices(target: int, devices: int, ghost: int | None) -> Iterator[Caveat]:
    """Data-parallel training computes batch norm on each device's part: that part is a ghost batch itself."""
    local = target / devices
    has = f"on {devices:,} devices each has {local:,.5g} of {target:,} examples"
    if ghost is None or ghost >= target:
        how = "its batch norm spans those alone, as ghost batches of that size would, though none are planned"
    elif local == ghost:
        how = "the ghost size, so that plain batch norm on each device is ghost batch norm: convert nothing"
    elif local > ghost:
        how = f"{local / ghost:.3g} ghosts of {ghost}, so split each device's part into them (GhostBatchNorm)"
    else:
        how = (
            f"fewer than a ghost of {ghost}, which cannot be met: train on at most {target // ghost} devices, or share "
            f"statistics in groups of {ghost / local:.3g} (SyncBatchNorm with a process_group)"
        )
    yield Caveat("ghosts-on-devices", f"{has}: {how}")
    if ghost is not None and ghost < target:
        yield Caveat(
            "sync-batch-norm",
            f"convert_sync_batchnorm would compute statistics over all {target:,} examples of the {devices:,} devices "
            f"({TORCH}) and undo the ghosts of {ghost}; the number of examples in a statistic is part of the loss "
            f"({rules.GOYAL})",
        )
    yield Caveat(
        "statistics-of-one-device",
        f"DistributedDataParallel gives all {devices:,} devices the buffers of the first ({TORCH}): running statistics "
        f"then rest on its {local:,.5g} of {target:,} examples; average them over the devices before evaluation",
    )
