"""What `probe covariance` found, in sentences, tables and graphs."""

from collections.abc import Iterator

from lbadvisor.diagnostics.calibration import AGREES_WITHIN
from lbadvisor.diagnostics.covariance import BatchNormOf, CovarianceProbe, Estimate, Match, Point
from lbadvisor.plan.noisy_quadratic import stretch_caveat
from lbadvisor.plan.rules import HOFFER
from lbadvisor.records.diagnosis import Diagnosis, Graph, Grid, Series

_RULES = {
    "none": "an unchanged learning rate",
    "sqrt": "the square-root rule",
    "finite-population": "its finite-population form",
    "linear": "the linear rule",
    "noise": "multiplicative noise",
}
_HEADINGS = ("rule", "batch norm", "lr x", "covariance x", "similarity", "second moment x")
_FORMATS = ("", "", ".3g", "", "", "")


def covariance_diagnosis(found: CovarianceProbe) -> Diagnosis:
    """The covariances of each rule beside the baseline's, and the drift beside the noise."""
    return Diagnosis(
        title=f"{found.baseline}: the covariance of the weight increment, batch {found.batch_size:,} -> "
        f"{found.target_batch_size:,}",
        conclusion=" ".join(sentence for point in found.points for sentence in _sentences(found, point)),
        graphs=(*(_by_exponent(found, point) for point in found.points), _by_group(found)),
        grids=tuple(_grid(found, point) for point in found.points),
        caveats=tuple(_caveats(found)),
    )


def _sentences(found: CovarianceProbe, point: Point) -> Iterator[str]:
    planned, plain = _planned(point), [m for m in point.matches if m.batch_norm == "plain" and m.rule == "sqrt"]
    *others, last = (
        f"{words} {_text(match.covariance)}"
        for rule, words in _RULES.items()
        for match in planned
        if match.rule == rule
    )  # fmt: skip
    yield (
        f"{_where(point)}{_with(found, planned[0].batch_norm)} the target's increments have this many times the "
        f"baseline's covariance (its trace): {', '.join(others)} and {last}."
    )
    if plain:
        yield f"With plain batch norm the square-root rule gives {_text(plain[0].covariance)}."
    yield f"Exponent {_text(point.covariance_exponent)} of the batch ratio keeps the covariance."
    yield from _of_drift(point)


def _of_drift(point: Point) -> Iterator[str]:
    share, exponent = point.drift_share, point.exponent
    yield (
        f"The mean step (drift) is {_text(share, 100)}% of the second moment of the baseline's step, which exponent "
        f"{_text(exponent)} keeps"
    ) + (
        ": drift rules at the target, and 0.5 is too much for the length of a step."
        if exponent.high is not None and exponent.high < 0.5 - AGREES_WITHIN
        else ": noise rules, as the square-root rule assumes."
        if exponent.low is not None and exponent.low > 0.5 - AGREES_WITHIN
        else ": these batches do not tell whether drift makes 0.5 too much."
    )


def _caveats(found: CovarianceProbe) -> Iterator[str]:
    yield (
        "The intervals are over batches drawn at the weights of one seed, not over seeds. Clipping and weight decay are "
        f"left out. Momentum {found.momentum:g} multiplies what a gradient moves in the end by "
        f"{1 / (1 - found.momentum):.3g}, at any batch size."
    )
    yield (
        "Over t updates drift adds up as t^2 and noise as t, so the exponent that keeps the weight distance is lower "
        "than that of one step for as long as the mean gradient stays the same: `lbadvisor calibrate` measures it."
    )
    if found.ghost_batch_size is not None:
        yield (
            "With batch norm an example's gradient depends on its batch, which the square-root rule's derivation leaves "
            f"out and ghost batches are to mend ({HOFFER}): their statistics are as noisy as the baseline's, those of "
            "the whole batch are not."
        )
    scale = found.points[-1].noise_scale
    if scale is not None:
        yield (
            f"{_where(found.points[-1])} the noise scale is {scale.examples:,.3g} examples. "
            + stretch_caveat(scale.examples, found.batch_size, found.target_batch_size)
        )


def _planned(point: Point) -> list[Match]:
    return [match for match in point.matches if match.batch_norm != "plain"]


def _where(point: Point) -> str:
    return f"After {point.updates:,} updates" if point.updates else "At the initial weights"


def _with(found: CovarianceProbe, batch_norm: BatchNormOf) -> str:
    return f", with ghost batches of {found.ghost_batch_size:,}," if batch_norm == "ghost" else ","


def _text(estimate: Estimate, factor: float = 1) -> str:
    value = f"{factor * estimate.value:.2g}"
    if estimate.low is None or estimate.high is None:
        return f"{value} (no bounds)"
    return f"{value} ({factor * estimate.low:.2g} to {factor * estimate.high:.2g})"


def _grid(found: CovarianceProbe, point: Point) -> Grid:
    rows = tuple(
        (
            match.rule,
            f"ghosts of {found.ghost_batch_size:,}" if match.batch_norm == "ghost" else match.batch_norm,
            match.lr_factor,
            *map(_text, (match.covariance, match.similarity, match.second_moment)),
        )
        for match in point.matches
    )
    return Grid(f"{_where(point)}, relative to the baseline", _HEADINGS, _FORMATS, rows)


def _by_exponent(found: CovarianceProbe, point: Point) -> Graph:
    """On a logarithmic axis what grows as r^2a is a straight line."""
    ends, ratio, series = (0.0, 1.0), found.target_batch_size / found.batch_size, []

    def line(label: str, start: Estimate, like: int | None = None) -> Series:
        of_ends = [tuple(y * ratio ** (2 * a) for a in ends) for y in (start.value, start.low or 0, start.high or 0)]
        bounded = start.low is not None and start.low > 0
        band = (of_ends[1], of_ends[2]) if bounded and like is None else (None, None)
        return Series(label, ends, of_ends[0], *band, "line" if like is None else "dashed", like)

    for match in point.matches:
        words = {"ghost": " with ghosts", "plain": " with plain batch norm"}.get(match.batch_norm, "")
        if match.rule == "none":
            series.append(line(f"covariance{words}", match.covariance))
            series.append(line(f"second moment{words}", match.second_moment, len(series) - 1))
        elif match.rule == "noise":
            series.append(Series(f"covariance{words} and noise", (0.0,), (match.covariance.value,), style="points"))
    series.append(Series("the baseline's", ends, (1.0, 1.0), style="dashed"))
    return Graph(
        title=f"{_where(point)}: the increment's covariance against the exponent of the learning rate",
        x_title="exponent of the batch ratio (0.5 square root, 1 linear)",
        y_title="times the baseline's",
        series=tuple(series),
        logarithmic_y=True,
        note="A rule matches if its line crosses 1 at its exponent. The second moment also counts the mean step.",
    )


def _by_group(found: CovarianceProbe) -> Graph:
    names = list(dict.fromkeys(ratio.group for ratio in found.points[0].groups))
    series = []
    for point in found.points:
        for batch_norm in dict.fromkeys(ratio.batch_norm for ratio in point.groups):
            ratios = [ratio.covariance for ratio in point.groups if ratio.batch_norm == batch_norm]
            label = f"{_where(point)}" + ("" if batch_norm == "none" else f", {batch_norm}")
            places = tuple(float(place) for place in range(1, len(ratios) + 1))
            low, high = (tuple(getattr(r, end) or r.value for r in ratios) for end in ("low", "high"))
            series.append(Series(label, places, tuple(r.value for r in ratios), low, high))
    return Graph(
        title="The increment's covariance by the square-root rule, in each group of layers",
        x_title="group of layers",
        y_title="times the baseline's",
        series=tuple(series),
        note="; ".join(f"{place}: {name}" for place, name in enumerate(names, start=1)),
    )
