"""What the diffusion of runs tells, in sentences, tables and the paper's Figure 2."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from lbadvisor.comparison.intervals import Interval
from lbadvisor.diagnostics.diffusion.diffusion import Diffusion, GroupDiffusion, LayerDiffusion
from lbadvisor.diagnostics.diffusion.growth import DistanceGrowth, Law
from lbadvisor.records.bounded import Bounded
from lbadvisor.records.diagnosis import Diagnosis, Entry, Graph, Grid, Series, banded

PAPER = "Hoffer et al. 2017, arXiv:1705.08741"
SURE_DECADES = 2.0
NORMS = (
    "Batch norm makes the loss blind to the size of the weights before it: every step adds to their norm, which grows "
    "by itself and is part of the distance (van Laarhoven 2017, arXiv:1706.05350)"
)
MOST_SENTENCES = 6
"""Of more groups the conclusion tells no more than of these: the table has them all."""


def diagnosis_of_diffusion(found: Diffusion) -> Diagnosis:
    """The answer of `probe diffusion`."""
    layers = _layer_grid(found)
    return Diagnosis(
        title=f"How the weight distance grows: {', '.join(group.label for group in found.groups)}",
        conclusion="\n".join(_sentences(found)),
        graphs=tuple(_graphs(found)),
        grids=(_group_grid(found), _run_grid(found), *([layers] if layers.rows else [])),
        caveats=tuple(_caveats(found)),
    )


def _sentences(found: Diffusion) -> Iterator[str]:
    for group in found.groups[:MOST_SENTENCES]:
        yield f"{group.label}: {_law_text(group)}."
    if len(found.groups) > MOST_SENTENCES:
        yield f"The table has {len(found.groups) - MOST_SENTENCES} more."
    first, *others = found.groups
    travelled = [f"{end:.3g} ({group.label})" for group in found.groups if (end := _end(group)) is not None]
    if others and travelled:
        yield f"The weights travel, before the learning rate first falls: {', '.join(travelled[:MOST_SENTENCES])}."
    known = [group for group in others if Law.LOGARITHM is first.law is group.law and group.difference is not None]
    for group in known[:MOST_SENTENCES]:
        yield _difference_text(group, first.label)


def _law_text(group: GroupDiffusion) -> str:
    growths = [run.growth for run in group.runs]
    if group.law is None:
        whys = Counter(growth.undetermined or f"a {growth.law}" for growth in growths)
        seeds = [f" ({n} of {len(growths)} seeds)" if len(whys) > 1 else "" for n in whys.values()]
        return f"the law is undetermined: {'; '.join(map(str.__add__, whys, seeds))}"
    fits = [fit for growth in growths if (fit := growth.fit(group.law)) is not None]
    slope = statistics.fmean(fit.slope for fit in fits)
    text = {Law.LOGARITHM: f"{slope:.3g} ln t", Law.SQUARE_ROOT: f"{slope:.3g} sqrt(t)"}.get(group.law)
    if text is None:
        text = f"t^{statistics.fmean(fit.exponent or 0.0 for fit in fits):.2f}"
    sure = ""
    if group.law is Law.LOGARITHM:
        low_high = group.log_slope_interval
        sure = " (one seed)" if low_high is None else f" (95% {_interval(low_high)}, {len(fits)} seeds)"
    return f"d grows as {text}{sure} over {_decades(growths)}"


def _decades(growths: Sequence[DistanceGrowth]) -> str:
    first, last = growths[0].updates[0], growths[0].updates[-1]
    return f"{growths[0].decades:.1f} decades (updates {first:,} to {last:,})"


def _difference_text(group: GroupDiffusion, base: str) -> str:
    if group.difference is None or group.difference_interval is None:
        return f"That {group.label}'s b differs from {base}'s cannot be told: fewer than two seeds in common."
    low, high = group.difference_interval
    how_sure = f"{group.difference:+.2f}, 95% {_interval((low, high), '+')}"
    if low <= 0 <= high:
        return f"No difference between {group.label}'s b and {base}'s is shown ({how_sure})."
    return f"{group.label}'s b is {'above' if low > 0 else 'below'} {base}'s ({how_sure})."


def _interval(ends: Interval, sign: str = "") -> str:
    return f"{ends[0]:{sign}.2f} to {ends[1]:{sign}.2f}"


def _end(group: GroupDiffusion) -> float | None:
    ends = [run.growth.distances[-1] for run in group.runs if run.growth.distances]
    return statistics.fmean(ends) if ends else None


def _graphs(found: Diffusion) -> Iterator[Graph]:
    """(a) before and (b) after adaptation, as in the paper, and b against the batch size."""
    before = [group for group in found.groups if not group.adapted]
    after = [group for group in found.groups if group.adapted or group.adapted is None]
    adapts = any(group.adapted for group in after)
    if before:
        yield _figure("Weight distance before adaptation" if adapts else "Weight distance", before)
    if adapts:
        yield _figure("Weight distance after adaptation", after)
    kinds: dict[str, list[GroupDiffusion]] = {}
    several = len({group.recipe for group in found.groups}) > 1
    for group in found.groups:
        kind = ", ".join(group.adapted or ()) or "nothing adapted"
        kinds.setdefault(f"{group.recipe}: {kind}" if several else kind, []).append(group)
    series = tuple(_slopes(kind, groups) for kind, groups in kinds.items())
    if any(len(one.x) > 1 for one in series):
        yield Graph(
            "b of a + b ln t by batch size", "batch size", "b", series, logarithmic_x=True,
            note="Bands are 95% intervals over seeds.",
        )  # fmt: skip


def _figure(title: str, groups: Sequence[GroupDiffusion]) -> Graph:
    series: list[Series] = []
    for group in groups:
        place, shared = len(series), sorted(set.intersection(*(set(run.updates) for run in group.runs)))
        rows = [[run.distances[run.updates.index(update)] for run in group.runs] for update in shared]
        low, high = (tuple(map(end, rows)) if len(group.runs) > 1 else None for end in (min, max))
        series.append(Series(group.label, tuple(shared), tuple(map(statistics.fmean, rows)), low, high, "points"))
        law = group.law or Law.LOGARITHM
        fits = [fit for run in group.runs if (fit := run.growth.fit(law)) is not None]
        if fits:
            fitted = group.runs[0].growth.updates
            # One that was not told from the others is still what there is to look at.
            label = f"{group.label}: {law}{'' if group.law else ', undetermined'}"
            values = tuple(statistics.fmean(fit.at(update) for fit in fits) for update in fitted)
            series.append(Series(label, fitted, values, style="dashed", like=place))
    return Graph(
        title,
        "update",
        "||w_t - w_0||",
        tuple(series),
        logarithmic_x=True,
        note="What grows as ln t is straight here. Points are means over seeds, bands from the lowest to the highest.",
    )


def _slopes(kind: str, groups: Sequence[GroupDiffusion]) -> Series:
    known = sorted((g.batch_size, g.log_slope, g.log_slope_interval or ()) for g in groups if g.log_slope is not None)
    return banded(kind, [size for size, *_ in known], [Bounded(slope, *ends) for _, slope, ends in known])


def _group_grid(found: Diffusion) -> Grid:
    rows: list[tuple[Entry, ...]] = []
    for group in found.groups:
        growth = group.runs[0].growth
        b = None if group.log_slope_interval is None else _interval(group.log_slope_interval)
        apart = None if group.difference_interval is None else _interval(group.difference_interval, "+")
        rows.append(
            (group.label, group.batch_size, group.law or "undetermined", group.log_slope, growth.decades, _end(group),
             b, group.difference, apart, len(group.runs), ", ".join(group.adapted or ()) or None)
        )  # fmt: skip
    headings = (
        "runs of", "batch", "law", "b of b ln t", "decades", "distance", "b, 95% interval",
        f"b above {found.groups[0].label}'s", "95% interval", "seeds", "adapted",
    )  # fmt: skip
    return Grid(
        "Before the learning rate first falls", headings,
        ("", ",d", "", ",.3g", ".1f", ",.3g", "", "+.2f", "", "d", ""), tuple(rows),
    )  # fmt: skip


def _run_grid(found: Diffusion) -> Grid:
    rows: list[tuple[Entry, ...]] = []
    for run in (run for group in found.groups for run in group.runs):
        growth, power = run.growth, run.growth.fit(Law.POWER)
        best = min((fit.aic for fit in growth.fits), default=0.0)
        unknown = (None,) * len(Law)
        rows.append(
            (run.name, *(tuple(fit.aic - best for fit in growth.fits) or unknown),
             *(tuple(fit.explained for fit in growth.fits) or unknown), None if power is None else power.exponent,
             growth.updates[0] if growth.updates else None, len(growth.updates), growth.law or growth.undetermined)
        )  # fmt: skip
    headings = (
        "run", "AIC: log", "sqrt", "power", "R2: log", "sqrt", "power", "exponent", "from update", "points", "law",
    )  # fmt: skip
    formats = ("", ".1f", ".1f", ".1f", ".3f", ".3f", ".3f", ".2f", ",d", "d", "")
    return Grid("The laws of each run: AIC above the best, variance explained", headings, formats, tuple(rows))


def _layer_grid(found: Diffusion) -> Grid:
    rows: list[tuple[Entry, ...]] = []
    for group in found.groups:
        parts: dict[str, list[LayerDiffusion]] = {}
        for layer in (layer for run in group.runs for layer in run.layers):
            parts.setdefault(layer.part, []).append(layer)
        for part, layers in parts.items():
            laws = {layer.growth.law for layer in layers}
            slopes = [fit.slope for layer in layers if (fit := layer.growth.fit(Law.LOGARITHM)) is not None]
            rows.append(
                (group.label, part, (laws.pop() if len(laws) == 1 else None) or "undetermined",
                 statistics.fmean(slopes) if slopes else None, statistics.fmean(one.share_percent for one in layers),
                 statistics.fmean(one.norm_percent for one in layers))
            )  # fmt: skip
    headings = ("runs of", "layers", "law", "b of b ln t", "% of the squared distance", "% of it by their norm")
    return Grid("By group of layers", headings, ("", "", "", ",.3g", ".0f", ".1f"), tuple(rows))


def _caveats(found: Diffusion) -> Iterator[str]:
    runs = [run for group in found.groups for run in group.runs]
    if any(group.batch_norm for group in found.groups):
        measured = [run for group in found.groups if group.batch_norm for run in group.runs if run.layers]
        shares = [sum(one.share_percent * one.norm_percent for one in run.layers) / 100 for run in measured]
        if shares:
            ends = " to ".join(dict.fromkeys(f"{share:.0f}" for share in (min(shares), max(shares))))
            yield f"{NORMS}; the norms of all layers, with and without it, make {ends}% of the squared distance here"
        else:
            yield f"{NORMS}; how much of it is told by runs trained with --measure layers"
    if any(run.growth.law is not None and run.growth.decades < SURE_DECADES for run in runs):
        yield (
            f"Over fewer than {SURE_DECADES:g} decades a law may be that of a stretch only: in the paper's own "
            f"Figure 2, digitized, batches of 512 and more fit several ({PAPER})"
        )
    if any(run.growth.law is not None for run in runs):
        yield "The best of three laws need not be the true one: look at the chart, and at what is left"
