"""Which option saves time: on one device, and on many, where a larger batch can use more of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lbadvisor.plan import noise_scale as noise
from lbadvisor.plan.data_parallel import Cluster, assumptions, fastest_update
from lbadvisor.plan.forecast import BY_NOISE_SCALE, Option
from lbadvisor.plan.knowledge import Knowledge
from lbadvisor.plan.noise_scale import NoiseScale
from lbadvisor.plan.update_time import UpdateTime
from lbadvisor.records.numerals import duration_text


@dataclass(frozen=True, slots=True)
class ScaledBatch:
    """A batch size on the number of devices that makes its updates fastest, and what a whole training takes there.

    `noise_scale_seconds` are those of the noise scale's stretch, None without a noise scale; `regime_seconds` those of
    as many updates as the baseline makes.
    """

    batch_size: int
    devices: int
    update_seconds: float
    communication_share: float
    fixed_epochs_seconds: float
    noise_scale_seconds: float | None
    regime_seconds: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the time of an update and the noise scale say of a plan's options; `scaled` is empty without a cluster.

    `conclusion` and `assumptions` are sentences.
    """

    noise_scale: NoiseScale | None
    update_time: UpdateTime | None
    cluster: Cluster | None
    scaled: tuple[ScaledBatch, ...]
    conclusion: tuple[str, ...]
    assumptions: tuple[str, ...]


def outlook_of(options: Sequence[Option], batch_size: int, target_batch_size: int, known: Knowledge) -> Outlook | None:
    """The outlook of a plan with these options; None if nothing is known that it could rest on."""
    time, cluster = known.update_time, known.cluster
    if known.noise_scale is None and time is None:
        return None
    scaled: tuple[ScaledBatch, ...] = ()
    sentences: list[str] = []
    if known.noise_scale is not None and target_batch_size > batch_size:
        sentences.append(_worth(known.noise_scale, batch_size, target_batch_size))
    if time is not None:
        sentences += [_of_update(time, batch_size, target_batch_size), *_on_one_device(options)]
    if time is not None and cluster is not None and options[0].updates is not None:
        scaled = tuple(_scaled(options[0].updates, batch_size, target_batch_size, known))
        sentences += _on_devices(scaled, cluster)
    if sentences:
        sentences.append("what each option costs in accuracy is not among these: `lbadvisor ladder` measures it")
    rests_on = () if time is None or cluster is None else assumptions(time, cluster)
    return Outlook(known.noise_scale, time, cluster, scaled, tuple(sentences), rests_on)


def _worth(scale: NoiseScale, small: int, large: int) -> str:
    worth = noise.gain(scale.examples, small, large)
    stretched = noise.stretch(scale.examples, small, large)
    within, gains, stretches = "", "", ""
    if scale.low is not None and scale.high is not None:
        ends = scale.low, scale.high
        low, high = (noise.gain(end, small, large) for end in ends)
        longest, shortest = (noise.stretch(end, small, large) for end in ends)
        within = f" (95% {ends[0]:,.4g} to {ends[1]:,.4g})"
        gains, stretches = f" ({low:.3g} to {high:.3g})", f" ({shortest:.3g} to {longest:.3g})"
    return (
        f"at a noise scale of {scale.examples:,.4g} examples{within}, an update at {large:,} is worth "
        f"{worth:.3g}{gains} of those at {small:,}, not {large / small:.3g}: as much progress takes "
        f"{stretched:.3g}{stretches} times the epochs ({noise.MCCANDLISH}), which says nothing of generalization"
    )


def _of_update(time: UpdateTime, small: int, large: int) -> str:
    line, sizes = time.line, [timed.batch_size for timed in time.timed]
    close = f", within {time.misfit:.1%} of each" if len(sizes) > 2 else ""
    return (
        f"an update takes {_seconds(time, small)} at {small:,} and {_seconds(time, large)} at {large:,}; other sizes B "
        f"follow {duration_text(line.fixed_seconds)} + B * {line.seconds_per_example * 1e6:.3g} us, fitted to the "
        f"rates at {', '.join(f'{size:,}' for size in sizes)}{close}"
    )


def _seconds(time: UpdateTime, examples: int) -> str:
    span = time.at(examples)
    return _ranged(span.middle, *span.ends)


def _ranged(seconds: float, low: float | None, high: float | None) -> str:
    within = "" if low is None or high is None else f" ({duration_text(low)} to {duration_text(high)})"
    return duration_text(seconds) + within


def _on_one_device(options: Sequence[Option]) -> Iterator[str]:
    """One sentence for each length of training; the options of a length take the same time."""
    baseline = options[0]
    if baseline.seconds is None:
        return
    yield f"on one device the baseline takes {_ranged(baseline.seconds, baseline.seconds_low, baseline.seconds_high)}"
    told: set[float] = set()
    for option in options[1:]:
        if option.seconds is None or option.updates_factor in told:
            continue
        told.add(option.updates_factor)
        times = option.seconds / baseline.seconds
        low, high = (
            (option.seconds_low or option.seconds) / (baseline.seconds_high or baseline.seconds),
            (option.seconds_high or option.seconds) / (baseline.seconds_low or baseline.seconds),
        )
        verdict = "saves time" if high < 1 else "saves no time" if low >= 1 else "undetermined: the interval holds 1"
        within = "" if low == high else f" ({low:.3g} to {high:.3g})"
        took = _ranged(option.seconds, option.seconds_low, option.seconds_high)
        why = _OF_THE_REGIME if option.updates_factor == 1 else ""
        yield f"{_length(option)}: {took}, {times:.3g}{within} times the baseline's: {verdict}{why}"


_OF_THE_REGIME = (
    "; it makes as many updates as the baseline, and on one device more examples never make an update faster"
)


def _length(option: Option) -> str:
    if option.name == BY_NOISE_SCALE:
        return "the noise scale's stretch"
    if option.updates_factor == 1:
        return "the full regime"
    return "fixed epochs" if not option.regime else f"{option.updates_factor:.3g} of the stretch"


def _scaled(updates: int, small: int, large: int, known: Knowledge) -> Iterator[ScaledBatch]:
    """The baseline's batch size, its doublings and the target's."""
    time, cluster, scale = known.update_time, known.cluster, known.noise_scale
    assert time is not None
    assert cluster is not None
    doublings = [small << k for k in range((large // small).bit_length()) if small << k < large]
    for size in [*doublings, large]:
        best = fastest_update(time, cluster, size)
        epochs = updates * small / size * best.seconds
        yield ScaledBatch(
            batch_size=size,
            devices=best.devices,
            update_seconds=best.seconds,
            communication_share=best.communication_share,
            fixed_epochs_seconds=epochs,
            noise_scale_seconds=None if scale is None else epochs * noise.stretch(scale.examples, small, size),
            regime_seconds=updates * best.seconds,
        )


def _on_devices(scaled: Sequence[ScaledBatch], cluster: Cluster) -> Iterator[str]:
    start, end = scaled[0], scaled[-1]
    yield (
        f"on up to {cluster.devices:,} devices the baseline takes {duration_text(start.regime_seconds)}, on "
        f"{start.devices:,}; fixed epochs are fastest at batch "
        + _fastest(scaled, [one.fixed_epochs_seconds for one in scaled])
    )
    stretched = [one.noise_scale_seconds for one in scaled if one.noise_scale_seconds is not None]
    if stretched:
        yield f"by the noise scale's stretch the fastest batch is {_fastest(scaled, stretched)}"
    yield (
        f"the full regime at {end.batch_size:,} takes {duration_text(end.regime_seconds)} on {end.devices:,}, no less "
        f"than the baseline: it makes as many updates, and no number of devices computes {end.batch_size:,} examples "
        f"faster than {start.batch_size:,}"
    )
    limited = [one for one in scaled if one.devices < min(cluster.devices, one.batch_size)]
    if limited:
        yield (
            "more devices would add more communication than they save computing at batch "
            + ", ".join(f"{one.batch_size:,} (beyond {one.devices:,})" for one in limited)
        )


def _fastest(scaled: Sequence[ScaledBatch], seconds: Sequence[float]) -> str:
    place = min(range(len(seconds)), key=seconds.__getitem__)
    one, start = scaled[place], scaled[0].regime_seconds
    return (
        f"{one.batch_size:,}, {duration_text(seconds[place])} on {one.devices:,} "
        f"({seconds[place] / start:.3g} times the baseline's)"
    )
