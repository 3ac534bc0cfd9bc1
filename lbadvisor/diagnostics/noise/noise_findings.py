"""What the gradient noise of a training says of its batch size: the value of `probe noise`, and its diagnosis."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lbadvisor.diagnostics.noise.noise_estimate import GradientMoments, noise_scale_of
from lbadvisor.planning.noise_scale import (
    NoiseScale,
    noise_scale_text,
    predicted_gain,
    predicted_stretch,
    relative_examples,
    relative_updates,
)
from lbadvisor.planning.noisy_quadratic import stretch_caveats
from lbadvisor.records.bounded import Bounded
from lbadvisor.records.diagnosis import Diagnosis, Graph, Grid, Series, banded
from lbadvisor.records.numerals import counted

MOST_WINDOWS = 12
FEWEST_READINGS = 5
"""A window has at least so many: from fewer, the interval is too wide to be worth a point of the curve."""
MOST_ROWS = 9
CURVE_POINTS = 40

CAVEATS = (
    "That the noise scale is the critical batch size was derived for SGD and a Hessian close to a multiple of the "
    "identity (McCandlish et al. 2018, arXiv:1812.06162).",
    "For the OLMo language models it underestimated the critical batch size by several orders of magnitude (Merrill et "
    "al. 2025, arXiv:2505.23971).",
    "It grows during training (McCandlish et al. 2018), so the first updates alone give a lower one than the whole.",
    "It is about speed, that is, the training loss, and says nothing about generalization: a ladder measures that.",
)


@dataclass(frozen=True, slots=True)
class NoiseWindow:
    """A stretch of the training: the means of its readings, and their noise scale."""

    first_update: int
    last_update: int
    readings: int
    squared_mean: float
    variance: float
    noise_scale: NoiseScale


@dataclass(frozen=True, slots=True)
class BatchCost:
    """What a batch size costs, as factors of the fewest updates and of the fewest examples."""

    batch_size: int
    relative_updates: float
    relative_examples: float


@dataclass(frozen=True, slots=True)
class LargerBatch:
    """What the noise scale predicts of a larger batch.

    `gain` is how many updates at the batch size one at the target is worth; `stretch` the factor of the epochs.
    """

    target_batch_size: int
    gain: Bounded
    stretch: Bounded


@dataclass(frozen=True, slots=True)
class NoiseFindings:
    """The noise scale of a training, over all readings and along it. `examples` is what measuring it took, if that.

    `source` is the runs or the recipe.
    """

    source: str
    batch_size: int
    seeds: tuple[int, ...]
    noise_scale: NoiseScale
    windows: tuple[NoiseWindow, ...]
    costs: tuple[BatchCost, ...]
    larger: LargerBatch | None
    examples: int | None


def noise_findings(
    source: str, batch_size: int, target: int | None, moments: Sequence[GradientMoments], examples: int | None = None
) -> NoiseFindings:
    """The findings from all moments, pooled over seeds, for a batch size and perhaps a larger one."""
    scale = noise_scale_of(moments)
    return NoiseFindings(
        source=source,
        batch_size=batch_size,
        seeds=tuple(sorted({one.seed for one in moments})),
        noise_scale=scale,
        windows=tuple(_windows(moments)),
        costs=tuple(_costs(scale.examples, batch_size, target)),
        larger=None
        if target is None
        else LargerBatch(
            target, predicted_gain(scale, batch_size, target), predicted_stretch(scale, batch_size, target)
        ),
        examples=examples,
    )


def _windows(moments: Sequence[GradientMoments]) -> Iterator[NoiseWindow]:
    updates = sorted({one.update for one in moments})
    count = max(1, min(MOST_WINDOWS, len(moments) // FEWEST_READINGS, len(updates)))
    for place in range(count):
        within = updates[place * len(updates) // count : (place + 1) * len(updates) // count]
        read = [one for one in moments if within[0] <= one.update <= within[-1]]
        yield NoiseWindow(
            first_update=within[0],
            last_update=within[-1],
            readings=len(read),
            squared_mean=statistics.fmean(one.squared_mean for one in read),
            variance=statistics.fmean(one.variance for one in read),
            noise_scale=noise_scale_of(read),
        )


def _costs(noise_scale: float, batch_size: int, target: int | None) -> Iterator[BatchCost]:
    if math.isinf(noise_scale) or noise_scale == 0:
        return
    end = max(target or 0, 4 * noise_scale, 4 * batch_size)
    step = max(2, 2 ** math.ceil(math.log2(end / batch_size) / (MOST_ROWS - 1)))
    size = batch_size
    while size <= end:
        yield BatchCost(size, relative_updates(noise_scale, size), relative_examples(noise_scale, size))
        size *= step


def noise_diagnosis(found: NoiseFindings) -> Diagnosis:
    """The findings as curve, hyperbola, tables and sentences."""
    return Diagnosis(
        title=f"Gradient noise of {found.source}, batch {found.batch_size:,}",
        conclusion="\n".join(_sentences(found)),
        graphs=tuple(_graphs(found)),
        grids=(
            Grid(
                "Along the training",
                ("updates", "readings", "|g|^2", "tr S", "noise scale"),
                ("", ",.0f", ",.3g", ",.3g", ""),
                tuple(
                    (
                        f"{w.first_update:,} to {w.last_update:,}",
                        w.readings,
                        w.squared_mean,
                        w.variance,
                        noise_scale_text(w.noise_scale),
                    )
                    for w in found.windows
                ),
            ),
            *_costs_grid(found),
        ),
        caveats=CAVEATS + _of_model(found),
    )


def _costs_grid(found: NoiseFindings) -> Iterator[Grid]:
    if found.costs:
        yield Grid(
            f"What a batch size costs, at a noise scale of {noise_scale_text(NoiseScale(found.noise_scale.examples))}",
            ("batch size", "updates / fewest", "examples / fewest"),
            (",.0f", ",.2f", ",.2f"),
            tuple((cost.batch_size, cost.relative_updates, cost.relative_examples) for cost in found.costs),
        )


def _of_model(found: NoiseFindings) -> tuple[str, ...]:
    larger = found.larger
    return () if larger is None else stretch_caveats(found.noise_scale, found.batch_size, larger.target_batch_size)


def _graphs(found: NoiseFindings) -> Iterator[Graph]:
    known = [window for window in found.windows if 0 < window.noise_scale.examples < math.inf]
    if len(known) > 1:
        yield Graph(
            title="Noise scale along the training",
            x_title="update",
            y_title="noise scale, examples",
            series=(
                banded(
                    "noise scale",
                    [(window.first_update + window.last_update) / 2 for window in known],
                    [window.noise_scale.bounded for window in known],
                ),
            ),
            logarithmic_y=True,
            note="Each point is tr S/|g|^2, a ratio of means over the readings around it, with its 95% interval.",
        )
    if found.costs:
        first, last = found.costs[0].batch_size, found.costs[-1].batch_size
        sizes = tuple(first * (last / first) ** (place / CURVE_POINTS) for place in range(CURVE_POINTS + 1))
        updates, examples = (
            tuple(of(found.noise_scale.examples, size) for size in sizes)
            for of in (relative_updates, relative_examples)
        )
        yield Graph(
            title="Updates and examples against the batch size",
            x_title="batch size",
            y_title="factor of the fewest",
            series=(Series("updates", sizes, updates), Series("examples", sizes, examples)),
            logarithmic_x=True,
            logarithmic_y=True,
            note="They cross at the noise scale, the critical batch size, where each is twice its fewest.",
        )


def _sentences(found: NoiseFindings) -> Iterator[str]:
    scale, windows = found.noise_scale, found.windows
    count, last = sum(window.readings for window in windows), windows[-1]
    unit = "" if math.isinf(scale.examples) else " examples"
    first, end = windows[0].first_update, last.last_update
    updates = f"update {first:,}" if first == end else f"updates {first:,} to {end:,}"
    yield (
        f"The noise scale is {noise_scale_text(scale)}{unit}, from {counted(count, 'reading')} at {updates} of "
        f"{counted(len(found.seeds), 'seed')}."
    )
    if math.isinf(scale.examples):
        yield "Its |g|^2 is not above 0, so the batch sizes up to which more examples help cannot be told: read more."
    else:
        yield (
            "Far below that batch size, doubling the batch nearly halves the updates; far above it, it saves few and "
            "costs twice the examples."
        )
    if len(windows) > 1:
        yield (
            f"Along the training it goes from {noise_scale_text(windows[0].noise_scale)} to "
            f"{noise_scale_text(last.noise_scale)}; in the average, updates with a large gradient, mostly the first, "
            "count most."
        )
    larger = found.larger
    if larger is not None:
        ratio = larger.target_batch_size / found.batch_size
        gained, stretched = larger.gain.text(",.3g"), larger.stretch.text(",.3g")
        yield (
            f"An update at {larger.target_batch_size:,} is worth {gained} at {found.batch_size:,} (the batch ratio is "
            f"{ratio:,.4g}), so the same progress takes {stretched} times the epochs; the full regime takes "
            f"{ratio:,.4g}."
        )
