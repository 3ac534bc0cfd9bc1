"""What `probe covariance` found, in sentences, tables and graphs."""

import math
from collections.abc import Iterator

from lbadvisor.diagnostics.calibration.calibration import AGREES_WITHIN
from lbadvisor.diagnostics.covariance.covariance import (
    BatchNormOf,
    CovariancePoint,
    CovarianceProbe,
    GroupRatio,
    RuleMatch,
)
from lbadvisor.planning.noise_scale import noise_scale_text
from lbadvisor.planning.noisy_quadratic import stretch_caveats
from lbadvisor.planning.rules import HOFFER
from lbadvisor.records.bounded import Bounded
from lbadvisor.records.diagnosis import Diagnosis, Graph, Grid, Series, Style, banded

_OTHERS = {
    "finite-population": "its finite-population form",
    "linear": "the linear rule",
    "none": "an unchanged learning rate",
    "noise": "multiplicative noise",
}
_HEADINGS = ("rule", "batch norm", "lr x", "covariance x", "similarity", "second moment x")
_FORMATS = ("", "", ".3g", "", "", "")


def covariance_diagnosis(found: CovarianceProbe) -> Diagnosis:
    """The covariances of each rule beside the baseline's, and the drift beside the noise."""
    return Diagnosis(
        title=f"{found.baseline}: the covariance of the weight increment, batch {found.batch_size:,} -> "
        f"{found.target_batch_size:,}",
        conclusion="\n".join(sentence for point in found.points for sentence in _sentences(found, point)),
        graphs=(*(_by_exponent(found, point) for point in found.points), _by_group(found)),
        grids=tuple(_grid(found, point) for point in found.points),
        caveats=tuple(_caveats(found)),
    )


def _sentences(found: CovarianceProbe, point: CovariancePoint) -> Iterator[str]:
    by_rule = {match.rule: match for match in _planned(point)}
    others = [f"{words} {_text(by_rule[rule].covariance)}" for rule, words in _OTHERS.items() if rule in by_rule]
    plain = [_text(m.covariance) for m in point.matches if (m.rule, m.batch_norm) == ("sqrt", "plain")]
    yield (
        f"{_where(point)}, {_statistics(found, by_rule['sqrt'].batch_norm)}, the square-root rule gives the target's "
        f"increments {_text(by_rule['sqrt'].covariance)} times the baseline's covariance, {', '.join(others)}; "
        f"exponent {_text(point.covariance_exponent)} keeps it."
        f"{f' With plain batch norm the square-root rule gives {plain[0]}.' if plain else ''}"
    )
    yield (
        f"The mean step (drift) makes up {_text(point.drift_share, 100, '%')} of the second moment of the baseline's "
        f"step, and does not shrink as the batch grows: exponent {_text(point.exponent)} keeps that moment"
    ) + (
        ", so 0.5 makes the target's steps too long."
        if point.exponent.high is not None and point.exponent.high < 0.5 - AGREES_WITHIN
        else ", about as much as 0.5, for noise rules."
        if point.exponent.low is not None and point.exponent.low > 0.5 - AGREES_WITHIN
        else "; more --batches tell whether 0.5 makes the target's steps too long."
    )


def _caveats(found: CovarianceProbe) -> Iterator[str]:
    yield "The intervals are over batches, at the weights of one seed. Clipping and weight decay are left out." + (
        f" Momentum {found.momentum:g} multiplies what a gradient moves in the end by {1 / (1 - found.momentum):.3g}, "
        "at any batch size."
        if found.momentum
        else ""
    )
    yield (
        "Over t updates drift adds up as t^2 and noise as t: while the mean gradient stays the same, the exponent that "
        "keeps the weight distance is below that of one step. `lbadvisor calibrate` measures it."
    )
    if found.ghost_batch_size is not None:
        yield (
            "With batch norm an example's gradient depends on its batch, which the derivation of the square-root rule "
            f"leaves out ({HOFFER}): the statistics of ghost batches are as noisy as the baseline's, those of the "
            "whole batch are not."
        )
    scale = found.points[-1].noise_scale
    if math.isfinite(scale.examples):
        yield f"{_where(found.points[-1])} the noise scale is {noise_scale_text(scale)} examples."
    yield from stretch_caveats(scale, found.batch_size, found.target_batch_size)


def _planned(point: CovariancePoint) -> list[RuleMatch]:
    return [match for match in point.matches if match.batch_norm != "plain"]


def _where(point: CovariancePoint) -> str:
    return f"After {point.updates:,} updates" if point.updates else "At the initial weights"


def _statistics(found: CovarianceProbe, batch_norm: BatchNormOf) -> str:
    ghosts = f"ghost batches of {found.ghost_batch_size}"
    return {"ghost": f"with {ghosts}", "plain": "with plain batch norm"}.get(batch_norm, "without batch norm")


def _text(estimate: Bounded, factor: float = 1, unit: str = "") -> str:
    """Such as 0.91 (0.87 to 0.95)."""
    ends = estimate.value, estimate.low, estimate.high
    value, low, high = ("?" if end is None else f"{factor * end:.{3 if factor * end >= 1 else 2}g}" for end in ends)
    return f"{value}{unit} ({low} to {high})"


def _grid(found: CovarianceProbe, point: CovariancePoint) -> Grid:
    rows = tuple(
        (
            match.rule,
            _statistics(found, match.batch_norm),
            match.lr_factor,
            _text(match.covariance),
            _text(match.similarity),
            _text(match.second_moment),
        )
        for match in point.matches
    )
    return Grid(f"{_where(point)}, relative to the baseline", _HEADINGS, _FORMATS, rows)


def _by_exponent(found: CovarianceProbe, point: CovariancePoint) -> Graph:
    """On a logarithmic axis what grows as r^2a is a straight line."""
    exponents, ratio = (0.0, 0.5, 1.0), found.target_batch_size / found.batch_size
    of_rate, noisy = ([m for m in point.matches if m.rule == rule] for rule in ("none", "noise"))

    def line(label: str, kept: Bounded, style: Style = "line", like: int | None = None) -> Series:
        return banded(label, exponents, [kept.times(ratio ** (2 * a)) for a in exponents], style, like)

    return Graph(
        title=f"{_where(point)}: the covariance of the increment by the exponent of the learning rate",
        x_title="exponent of the batch ratio (0.5 square root, 1 linear)",
        y_title="times the baseline's",
        series=(
            *(line(f"covariance {_statistics(found, match.batch_norm)}", match.covariance) for match in of_rate),
            line(f"second moment {_statistics(found, of_rate[0].batch_norm)}", of_rate[0].second_moment, "dashed", 0),
            *(banded("covariance with multiplicative noise", (0.0,), [m.covariance], "points") for m in noisy[:1]),
            Series("the baseline's", exponents, (1.0,) * 3, style="dashed"),
        ),
        logarithmic_y=True,
        note="A rule matches if its line crosses 1 at its exponent. The second moment also counts the mean step.",
    )


def _by_group(found: CovarianceProbe) -> Graph:
    ratios: dict[str, list[GroupRatio]] = {}
    for point in found.points:
        for ratio in point.groups:
            ratios.setdefault(f"{_where(point)}, {_statistics(found, ratio.batch_norm)}", []).append(ratio)
    names = [ratio.group for ratio in next(iter(ratios.values()))]
    places = range(1, len(names) + 1)
    return Graph(
        title="The covariance of the increment by the square-root rule, in each group of layers",
        x_title="group of layers",
        y_title="times the baseline's",
        series=tuple(
            banded(label, places, [r.covariance for r in of_label], "points") for label, of_label in ratios.items()
        ),
        note="; ".join(f"{place}: {name}" for place, name in zip(places, names, strict=True)),
    )
