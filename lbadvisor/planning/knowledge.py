"""What is known of a training beyond its hyperparameters, because it was measured or given."""

from dataclasses import dataclass

from lbadvisor.planning.data_parallel import Cluster
from lbadvisor.planning.noise_scale import NoiseScale
from lbadvisor.planning.update_time import UpdateTime


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Facts about the baseline's training and about what trains it; None: not known.

    `devices` train a batch together; `cluster` also says how they are connected.
    """

    noise_scale: NoiseScale | None = None
    update_time: UpdateTime | None = None
    devices: int | None = None
    cluster: Cluster | None = None
