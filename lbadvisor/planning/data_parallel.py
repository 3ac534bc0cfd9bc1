"""How long an update takes if its batch is split over many devices: computing, the slowest device, the all-reduce.

All devices keep the weights, each computes the gradient of its part of the batch, and a ring sums the gradients: in
2(n-1) rounds every device passes 1/n of them to the next one. A test passes the messages one by one.
"""

import math
from dataclasses import dataclass

from lbadvisor.planning.rules import OWN_CHOICE
from lbadvisor.planning.update_time import UpdateTime

NCCL = "NVIDIA nccl-tests, doc/PERFORMANCE.md"
BANDWIDTH = 12.5e9
"""Bytes per second: those of a link of 100 Gb/s."""
LATENCY_SECONDS = 1e-5
BYTES_PER_PARAMETER = 4
"""A gradient is in float32, also under bfloat16 autocast."""
MOST_DEVICES = 65_536
EULER = 0.5772156649015329
EXACT_TERMS = 1000
"""Beyond this many, the expansion of the harmonic number is as exact as its sum: the next term is 1/(120 n^4)."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Equal devices, up to `devices`, in a ring of links of `bandwidth` bytes per second and `latency_seconds`.

    `parameters` is the network's number of them. In each update each device is late by an exponentially distributed
    time, of mean `jitter_seconds`.
    """

    devices: int
    parameters: int
    bandwidth: float = BANDWIDTH
    latency_seconds: float = LATENCY_SECONDS
    jitter_seconds: float = 0.0


def all_reduce_seconds(cluster: Cluster, devices: int) -> float:
    """2(n-1) rounds of a ring, each of a message's latency and of 1/n of the gradients' bytes; 0 for one device."""
    message_seconds = cluster.parameters * BYTES_PER_PARAMETER / devices / cluster.bandwidth
    return 2 * (devices - 1) * (cluster.latency_seconds + message_seconds)


def waiting_seconds(cluster: Cluster, devices: int) -> float:
    """The mean delay of the latest of n devices: that of one, times the harmonic number H_n = 1 + 1/2 + ... + 1/n.

    The largest of n independent exponential times, of which each lasts the mean, lasts H_n means on average.
    """
    if devices <= EXACT_TERMS:
        harmonic = sum(1 / k for k in range(1, devices + 1))
    else:
        harmonic = math.log(devices) + EULER + 1 / (2 * devices) - 1 / (12 * devices**2)
    return cluster.jitter_seconds * harmonic


@dataclass(frozen=True, slots=True)
class ParallelUpdate:
    """The seconds of one update of `batch_size` examples on so many devices, and the all-reduce's share of them."""

    batch_size: int
    devices: int
    seconds: float
    communication_share: float


def parallel_update(time: UpdateTime, cluster: Cluster, batch_size: int, devices: int) -> ParallelUpdate:
    """An update on `devices` of the cluster: the device with the largest part decides, then the ring follows."""
    computing = time.line.at(-(-batch_size // devices))
    communicating = all_reduce_seconds(cluster, devices)
    seconds = computing + waiting_seconds(cluster, devices) + communicating
    return ParallelUpdate(batch_size, devices, seconds, communicating / seconds)


def fastest_update(time: UpdateTime, cluster: Cluster, batch_size: int) -> ParallelUpdate:
    """The update on the number of devices, up to the cluster's, that makes it fastest."""
    parts = {-(-batch_size // devices) for devices in range(1, min(cluster.devices, batch_size) + 1)}
    # More devices than a largest part needs would only wait and communicate longer.
    fewest = sorted(-(-batch_size // part) for part in parts)
    return min((parallel_update(time, cluster, batch_size, n) for n in fewest), key=lambda update: update.seconds)


def assumptions(time: UpdateTime, cluster: Cluster) -> tuple[str, ...]:
    """What the times on many devices rest on, in sentences."""
    size = cluster.parameters * BYTES_PER_PARAMETER
    own = cluster.bandwidth == BANDWIDTH and cluster.latency_seconds == LATENCY_SECONDS
    jitter = (
        f"late by {cluster.jitter_seconds * 1e3:.3g} ms on average, exponentially distributed, and the latest of n by "
        "1 + 1/2 + ... + 1/n times that"
        if cluster.jitter_seconds
        else "never late"
    )
    return (
        f"each device computes an equal part of the batch, in the time that the fitted line gives for a batch of that "
        f"size (extrapolated below {time.timed[0].batch_size:,} examples; the rates' intervals are left out), and is "
        f"{jitter}",
        f"a ring sums the gradients of {cluster.parameters:,} parameters in float32, {size / 1e6:,.4g} MB: 2(n-1)/n "
        f"times their bytes over the bandwidth ({NCCL}) and 2(n-1) latencies, one for each round of the ring",
        f"links of {cluster.bandwidth / 1e9:.4g} GB/s and {cluster.latency_seconds * 1e6:.4g} us"
        + (f" (a link of 100 Gb/s; {OWN_CHOICE}, measure yours)" if own else ""),
        "the ring starts once the gradients are computed: without overlap, which frameworks use to hide part of it",
    )
