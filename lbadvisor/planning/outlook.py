"""Which option saves time: on one device, and on many, where a larger batch can use more of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lbadvisor.planning import noise_scale as noise
from lbadvisor.planning.data_parallel import Cluster, assumptions, fastest_update, parallel_update
from lbadvisor.planning.forecast import BY_NOISE_SCALE, Option
from lbadvisor.planning.knowledge import Knowledge
from lbadvisor.planning.noise_scale import NoiseScale
from lbadvisor.planning.noisy_quadratic import stretch_caveats
from lbadvisor.planning.update_time import Ranged, UpdateTime
from lbadvisor.records.diagnosis import Diagnosis, Graph, Grid, Series
from lbadvisor.records.numerals import duration_text, listed


@dataclass(frozen=True, slots=True)
class ScaledBatch:
    """A batch size on the number of devices that makes its updates fastest, and what a whole training takes there.

    `noise_scale_seconds` are those of the noise scale's stretch, with the ends that its interval gives, each None if it
    is not known; `regime_seconds` those of as many updates as the baseline makes.
    """

    batch_size: int
    devices: int
    update_seconds: float
    communication_share: float
    fixed_epochs_seconds: float
    noise_scale_seconds: float | None
    noise_scale_seconds_low: float | None
    noise_scale_seconds_high: float | None
    regime_seconds: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the time of an update and the noise scale say of a plan's options; `scaled` is empty without a cluster."""

    noise_scale: NoiseScale | None
    update_time: UpdateTime | None
    cluster: Cluster | None
    updates: int | None
    scaled: tuple[ScaledBatch, ...]
    conclusion: str
    assumptions: tuple[str, ...]
    caveats: tuple[str, ...]


def outlook_of(options: Sequence[Option], batch_size: int, target_batch_size: int, known: Knowledge) -> Outlook | None:
    """The outlook of a plan with these options; None if nothing is known that it could rest on."""
    scale, time, cluster, updates = known.noise_scale, known.update_time, known.cluster, options[0].updates
    if target_batch_size == batch_size or (scale is None and time is None):
        return None
    scaled: tuple[ScaledBatch, ...] = ()
    sentences = [] if scale is None else [_worth(scale, batch_size, target_batch_size)]
    rests_on: tuple[str, ...] = ()
    if time is not None:
        sentences = [_on_one_device(options), *sentences, _of_update(time, batch_size, target_batch_size)]
        if cluster is not None and updates is not None:
            scaled = tuple(_scaled(updates, batch_size, target_batch_size, time, cluster, scale))
            sentences.append(_on_devices(scaled, cluster))
            rests_on = assumptions(time, cluster)
    sentences.append(
        "What each option costs in accuracy is not told here: `lbadvisor ladder` measures it, and `lbadvisor "
        "stretch` finds the shortest training that closes the gap."
    )
    caveats = () if scale is None else stretch_caveats(scale, batch_size, target_batch_size)
    return Outlook(scale, time, cluster, updates, scaled, "\n".join(sentences), rests_on, caveats)


def _worth(scale: NoiseScale, small: int, large: int) -> str:
    worth, stretched = (of(scale, small, large).text(",.3g") for of in (noise.predicted_gain, noise.predicted_stretch))
    return (
        f"At a noise scale of {noise.noise_scale_text(scale)} examples, an update at {large:,} is worth {worth} of "
        f"those at {small:,}, not {large / small:.3g}: as much progress takes {stretched} times the epochs "
        f"({noise.MCCANDLISH}), which says nothing of generalization."
    )


def _of_update(time: UpdateTime, small: int, large: int) -> str:
    line, sizes = time.line, [timed.batch_size for timed in time.timed]
    close = f", within {time.misfit:.1%} of each" if len(sizes) > 2 else ""
    each = (f"{time.at(size).text} at {size:,}" for size in (small, large))
    return (
        f"An update takes {' and '.join(each)}; other batch sizes B follow {duration_text(line.fixed_seconds)} + B * "
        f"{line.seconds_per_example * 1e6:.3g} us, fitted to the rates at {', '.join(f'{size:,}' for size in sizes)}"
        f"{close}."
    )


def _on_one_device(options: Sequence[Option]) -> str:
    """What saves time; options of one length take the same."""
    verdicts = dict[str, list[str]]()
    regime = 0.0
    for option in options[1:]:
        times = option.seconds_factor or 0.0
        low, high = option.seconds_factor_low or times, option.seconds_factor_high or times
        verdict = (
            "would save time"
            if high < 1
            else "would save no time"
            if low >= 1
            else "may save time (the interval holds 1)"
        )
        names = verdicts.setdefault(verdict, [])
        if _length(option) not in names:
            names.append(_length(option))
        if option.updates_factor == 1:
            regime = times
    told = "; ".join(f"{listed(names)} {verdict}" for verdict, names in verdicts.items())
    why = "and on one device more examples do not make an update faster"
    if regime < 1:
        why = (
            "and by these rates one of the target's is faster than one of the baseline's. A single device does not "
            "compute more examples in less time: check that all rates are of one"
        )
    return (
        f"Against the baseline on one device, {told}. The full regime takes {regime:.3g} times as long: it makes as "
        f"many updates, {why}."
    )


def _length(option: Option) -> str:
    if option.name == BY_NOISE_SCALE:
        return "the noise scale's stretch"
    if not option.regime:
        return "fixed epochs"
    return "the full regime" if option.updates_factor == 1 else f"{option.updates_factor:.3g} of the stretch"


def _scaled(
    updates: int, small: int, large: int, time: UpdateTime, cluster: Cluster, scale: NoiseScale | None
) -> Iterator[ScaledBatch]:
    """The baseline's batch size, its doublings and the target's."""
    doublings = (small << k for k in range((large // small).bit_length()) if small << k < large)
    for size in (*doublings, large):
        best = fastest_update(time, cluster, size)
        epochs = updates * small / size * best.seconds
        stretched = None if scale is None else noise.predicted_stretch(scale, small, size).times(epochs)
        yield ScaledBatch(
            batch_size=size,
            devices=best.devices,
            update_seconds=best.seconds,
            communication_share=best.communication_share,
            fixed_epochs_seconds=epochs,
            noise_scale_seconds=None if stretched is None else stretched.value,
            noise_scale_seconds_low=None if stretched is None else stretched.low,
            noise_scale_seconds_high=None if stretched is None else stretched.high,
            regime_seconds=updates * best.seconds,
        )


def _on_devices(scaled: Sequence[ScaledBatch], cluster: Cluster) -> str:
    start, end = scaled[0], scaled[-1]
    lengths = {"at fixed epochs": [(one, one.fixed_epochs_seconds) for one in scaled]}
    by_scale = [(one, one.noise_scale_seconds) for one in scaled if one.noise_scale_seconds is not None]
    if by_scale:
        lengths["by the noise scale's stretch"] = by_scale
    fastest = []
    for length, times in lengths.items():
        one, least = min(times, key=lambda pair: pair[1])
        text = duration_text(least) if times is not by_scale else _by_noise_scale(one)
        fastest.append(
            f"{length}, batch {one.batch_size:,} is fastest: {text} on {one.devices:,} "
            f"({least / start.regime_seconds:.3g} times that)"
        )
    return (
        f"On up to {cluster.devices:,} devices the baseline takes {duration_text(start.regime_seconds)}, on "
        f"{start.devices:,}; {'; '.join(fastest)}. The full regime at {end.batch_size:,} takes "
        f"{duration_text(end.regime_seconds)} on {end.devices:,}, no less than the baseline: no number of devices "
        f"computes {end.batch_size:,} examples faster than {start.batch_size:,}."
    )


def _by_noise_scale(one: ScaledBatch) -> str | None:
    """The seconds of the noise scale's stretch, with their interval."""
    seconds, low, high = one.noise_scale_seconds, one.noise_scale_seconds_low, one.noise_scale_seconds_high
    if seconds is None or low is None or high is None or low == high:
        return None if seconds is None else duration_text(seconds)
    return Ranged(seconds, low, high).text


def diagnosis_of(outlook: Outlook) -> Diagnosis:
    """The outlook as it is shown: on many devices with a table of the batch sizes and a graph over the devices."""
    grids = (_grid(outlook.scaled),) if outlook.scaled else ()
    graphs = (_graph(outlook),) if outlook.scaled else ()
    caveats = (*(f"assumes {one}" for one in outlook.assumptions), *outlook.caveats)
    return Diagnosis("what it costs in time", outlook.conclusion, graphs, grids, caveats)


def _grid(scaled: Sequence[ScaledBatch]) -> Grid:
    rows = tuple(
        (
            one.batch_size, one.devices, duration_text(one.update_seconds), 100 * one.communication_share,
            duration_text(one.fixed_epochs_seconds), _by_noise_scale(one), duration_text(one.regime_seconds),
        )
        for one in scaled
    )  # fmt: skip
    headings = ("batch", "devices", "an update", "all-reduce %", "fixed epochs", "by the noise scale", "full regime")
    title = "the best number of devices: more would add more communication than they save computing"
    return Grid(title, headings, (",", ",", "", ".0f", "", "", ""), rows)


def _graph(outlook: Outlook) -> Graph:
    """The time of a training over the devices that share its batches."""
    time, cluster, scaled = outlook.update_time, outlook.cluster, outlook.scaled
    small, large = scaled[0].batch_size, scaled[-1].batch_size
    assert time is not None
    assert cluster is not None
    updates = outlook.updates or 0
    lines = [("the baseline", small, float(updates)), (f"{large:,}, full regime", large, float(updates))]
    lines.append((f"{large:,}, fixed epochs", large, updates * small / large))
    if outlook.noise_scale is not None:
        stretched = noise.stretch(outlook.noise_scale.examples, small, large)
        lines.append((f"{large:,}, by the noise scale", large, updates * small / large * stretched))
    series = []
    for label, size, made in lines:
        numbers = [1 << k for k in range(cluster.devices.bit_length()) if 1 << k <= size]
        seconds = [made * parallel_update(time, cluster, size, n).seconds for n in numbers]
        series.append(Series(label, tuple(map(float, numbers)), tuple(seconds)))
    return Graph("Time of a training on many devices", "devices", "seconds", tuple(series), True, True)
