"""What is known of a training, from the command line: its noise scale, how long updates take, what trains it."""

import math
from dataclasses import dataclass
from typing import Annotated

import typer

from lbadvisor.cli.options.effects import names_a_run
from lbadvisor.cli.options.words import Database, NoiseScaleText
from lbadvisor.errors import UsageError
from lbadvisor.planning.baseline import Baseline
from lbadvisor.planning.data_parallel import BANDWIDTH, LATENCY_SECONDS, MOST_DEVICES, Cluster
from lbadvisor.planning.knowledge import Knowledge
from lbadvisor.planning.noise_scale import NoiseScale
from lbadvisor.planning.update_time import Ranged, TimedUpdate, UpdateTime, update_time

MEASURE = "measure"
LEAST, MOST = 1e-6, 1e15
"""Noise scales and rates within these leave all that is computed from them finite."""


@dataclass(frozen=True, slots=True)
class KnownWords:
    """What `plan` is told beyond the recipe."""

    noise_scale: NoiseScaleText = None
    rate: Annotated[
        str | None,
        typer.Option(
            "--rate",
            metavar="B=RATE,...|measure",
            help="Examples per second at two batch sizes or more, such as 128=5000,4096=21000; a rate may be "
            "LOW..HIGH. measure: time 20 updates at three sizes here.",
        ),
    ] = None
    devices: Annotated[
        int | None,
        typer.Option("--devices", metavar="N", min=1, max=MOST_DEVICES, help="Train on up to N devices in parallel."),
    ] = None
    parameters: Annotated[
        int | None, typer.Option("--parameters", metavar="N", min=1, help="The network's parameters (with --devices).")
    ] = None
    bandwidth: Annotated[
        float, typer.Option("--bandwidth", metavar="GB/S", min=1e-6, help="Of a link between devices (with --devices).")
    ] = BANDWIDTH / 1e9
    latency: Annotated[
        float, typer.Option("--latency", metavar="US", min=0, help="Of a message in microseconds (with --devices).")
    ] = LATENCY_SECONDS * 1e6
    jitter: Annotated[
        float, typer.Option("--jitter", metavar="MS", min=0, help="How late a device is on average, in milliseconds.")
    ] = 0.0
    database: Database = None

    def cluster(self, parameters: int) -> Cluster | None:
        """The devices that train a network with so many parameters; None without --devices."""
        if self.devices is None:
            return None
        return Cluster(self.devices, parameters, self.bandwidth * 1e9, self.latency / 1e6, self.jitter / 1e3)


def known_of(words: KnownWords, baseline: Baseline) -> Knowledge:
    """What the words say; the time of an update is None if it is yet to be measured. Raises `UsageError`."""
    if words.devices is not None and words.rate is None and not baseline.has_batch_norm:
        raise UsageError("--devices has no effect without batch norm or --rate: give --rate as well")
    return Knowledge(
        noise_scale=noise_scale_of(words.noise_scale, words.database),
        update_time=None if words.rate in (None, MEASURE) else _update_time(words.rate),
        devices=words.devices,
        cluster=None if words.parameters is None else words.cluster(words.parameters),
    )


def noise_scale_of(text: str | None, database: str | None) -> NoiseScale | None:
    """The noise scale that is given as a number, as an interval or by a stored run. Raises `UsageError`."""
    if text is None:
        return None
    if names_a_run(text):
        from lbadvisor.diagnostics.noise.noise_estimate import stored_noise_scale
        from lbadvisor.runs.databases import opened

        with opened(database) as store:
            return stored_noise_scale(store, [store.run(text)])
    span = _span(text)
    if span is None:
        raise UsageError(
            f"--noise-scale {text[:60]}: give a number of examples above 0 such as 3000, an interval such as "
            "2500..3600, or the name of a run"
        )
    return NoiseScale(span.middle, *span.ends)


def _update_time(text: str) -> UpdateTime:
    timed = []
    for part in text.split(","):
        size, _, rate = (word.strip() for word in part.partition("="))
        span = _span(rate)
        if span is None or not (size.isascii() and size.isdigit() and 0 < len(size) < 12 and int(size) > 0):
            raise UsageError(
                f"--rate {part.strip()[:60]}: give BATCH=EXAMPLES_PER_SECOND, such as 128=5000,4096=21000, or measure"
            )
        examples = int(size)
        timed.append(
            TimedUpdate(examples, Ranged(*(examples / per_second for per_second in (span.middle, span.high, span.low))))
        )
    return update_time(timed)


def _span(text: str) -> Ranged | None:
    """A number, or the ends of an interval, whose middle is their geometric mean; None for anything else."""
    low, dots, high = text.partition("..")
    try:
        ends = float(low), float(high if dots else low)
    except ValueError:
        return None
    if not LEAST <= ends[0] <= ends[1] <= MOST:
        return None
    return Ranged(math.sqrt(ends[0] * ends[1]) if dots else ends[0], *ends)
