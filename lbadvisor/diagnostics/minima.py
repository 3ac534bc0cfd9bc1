"""The sharpness of runs' minima beside their accuracy: is the arm that generalizes worse the sharper one?

Keskar et al. 2017 (arXiv:1609.04836) say that large batches find sharp minima, which generalize worse; Hoffer, Hubara,
Soudry 2017 (arXiv:1705.08741) that the gap comes from too few updates.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lbadvisor.comparison.comparison import Spread
from lbadvisor.comparison.groups import spread
from lbadvisor.comparison.intervals import mean_interval
from lbadvisor.records.diagnosis import Diagnosis, Entry, Graph, Grid, Series


@dataclass(frozen=True, slots=True)
class Minimum:
    """What was measured at the weights of one run after `update` updates, those that its evaluations use.

    `averaged` if they are averages. `loss` in nats; `sharpness_percent` is Keskar's, `largest_eigenvalue` the loss's
    Hessian's. `final_lr` and `largest_lr` are those of the run's measurements, `stable_lr` is the largest stable one,
    None for an adaptive optimizer. `normalized_over` is the number of examples that share batch norm's statistics.
    """

    run: str
    number: int
    group: str
    seed: int
    batch_size: int
    update: int
    averaged: bool
    normalized_over: int | None
    loss: float
    sharpness_percent: float
    largest_eigenvalue: float
    final_lr: float
    largest_lr: float
    stable_lr: float | None
    accuracy_percent: float | None


@dataclass(frozen=True, slots=True)
class Ratio:
    """A geometric mean over seeds, and its 95% interval, None for fewer than two seeds."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Contrast:
    """The least accurate group beside the most accurate: the difference in points, and how many times as sharp it is.

    Paired by seed, if they share any. A ratio is None if a measure is not above 0.
    """

    worse: str
    better: str
    points: float
    points_low: float | None
    points_high: float | None
    sharpness: Ratio | None
    eigenvalue: Ratio | None


@dataclass(frozen=True, slots=True)
class Minima:
    """The minima of several runs, on the same `examples` training examples; `contrast` is None for a single group."""

    examples: int
    epsilon: float
    minima: tuple[Minimum, ...]
    contrast: Contrast | None


def minima_of(examples: int, epsilon: float, minima: Sequence[Minimum]) -> Minima:
    """The minima, with the contrast of the extreme groups."""
    means = {
        group: statistics.fmean(known)
        for group, of_group in _by_group(minima).items()
        if (known := [m.accuracy_percent for m in of_group if m.accuracy_percent is not None])
    }
    worse, better = min(means, key=means.__getitem__, default=""), max(means, key=means.__getitem__, default="")
    contrast = None if worse == better else _contrast(minima, worse, better)
    return Minima(examples, epsilon, tuple(minima), contrast)


def _by_group(minima: Sequence[Minimum]) -> dict[str, list[Minimum]]:
    groups: dict[str, list[Minimum]] = {}
    for minimum in minima:
        groups.setdefault(minimum.group, []).append(minimum)
    return groups


def _contrast(minima: Sequence[Minimum], worse: str, better: str) -> Contrast:
    left, right = ({m.seed: m for m in minima if m.group == group} for group in (worse, better))
    shared = sorted(left.keys() & right.keys())
    pairs = [(left[seed], right[seed]) for seed in shared] or [
        (a, b) for a in left.values() for b in right.values()
    ]
    points = [
        b.accuracy_percent - a.accuracy_percent
        for a, b in pairs
        if a.accuracy_percent is not None and b.accuracy_percent is not None
    ]
    interval = (mean_interval(points) if shared else None) or (None, None)
    measured = (
        [(a.sharpness_percent, b.sharpness_percent) for a, b in pairs],
        [(a.largest_eigenvalue, b.largest_eigenvalue) for a, b in pairs],
    )
    sharpness, eigenvalue = (_ratio(both, paired=bool(shared)) for both in measured)
    return Contrast(worse, better, statistics.fmean(points), *interval, sharpness, eigenvalue)


def _ratio(pairs: Sequence[tuple[float, float]], *, paired: bool) -> Ratio | None:
    if any(min(pair) <= 0 for pair in pairs):
        return None
    logs = [math.log(a / b) for a, b in pairs]
    low, high = (mean_interval(logs) if paired else None) or (None, None)
    return Ratio(
        math.exp(statistics.fmean(logs)),
        None if low is None else math.exp(low),
        None if high is None else math.exp(high),
    )


def diagnosis_of_minima(found: Minima) -> Diagnosis:
    """The minima in words, accuracy against each measure, and their tables."""
    sentences = [*_comparison(found), *_stability(found.minima)]
    return Diagnosis(
        title="Sharpness of the minima",
        conclusion=" ".join(sentences),
        graphs=(
            _graph(found.minima, "Keskar's sharpness, %", [m.sharpness_percent for m in found.minima]),
            _graph(found.minima, "largest eigenvalue of the Hessian", [m.largest_eigenvalue for m in found.minima]),
        ),
        grids=(_groups(found.minima), _runs(found.minima)),
        caveats=tuple(_caveats(found)),
    )


def _comparison(found: Minima) -> Iterator[str]:
    contrast = found.contrast
    if contrast is None:
        values = [spread([getattr(m, of) for m in found.minima]) for of in ("sharpness_percent", "largest_eigenvalue")]
        yield f"Keskar's sharpness is {_plus_minus(values[0])}%, the Hessian's largest eigenvalue {_plus_minus(values[1])}."
        yield "There is nothing to compare it with: name the runs of another arm, or a ladder."
        return
    low, high = contrast.points_low, contrast.points_high
    yield (
        f"{contrast.worse} is the least accurate: {contrast.points:.2f} points{_ends(low, high)} below "
        f"{contrast.better}. By Keskar's measure its minimum is {_compared(contrast.sharpness)}; by the Hessian's "
        f"largest eigenvalue it is {_compared(contrast.eigenvalue)}."
    )
    if low is None or high is None:
        yield "One seed gives no interval: this may be chance."
    elif low <= 0 <= high:
        yield "But the accuracies differ by no more than chance, so this says nothing about generalization."
    else:
        yield _verdict({_side(contrast.sharpness), _side(contrast.eigenvalue)})


def _side(ratio: Ratio | None) -> str:
    """Whether the worse arm's minimum is sharper, flatter, or neither for sure."""
    if ratio is None or ratio.low is None or ratio.high is None:
        return ""
    return "sharper" if ratio.low > 1 else "flatter" if ratio.high < 1 else ""


def _verdict(sides: set[str]) -> str:
    if sides == {"sharper"}:
        return "So the arm that generalizes worse is the sharper one by both measures, as Keskar et al. 2017 say."
    if sides == {"sharper", ""}:
        return "So the arm that generalizes worse is the sharper one by one measure of the two."
    if sides == {""}:
        return "So neither measure tells the arms apart."
    return "So the arm that generalizes worse is not the sharper one: sharpness does not explain this gap."


def _compared(ratio: Ratio | None) -> str:
    if ratio is None:
        return "not measurable"
    ends = _ends(ratio.low, ratio.high)
    if ratio.low is not None and not _side(ratio):
        return f"not clearly sharper or flatter ({ratio.value:.2f} times as sharp{ends})"
    return f"{ratio.value:.2f} times as sharp{ends}"


def _ends(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f", 95% {low:.2f} to {high:.2f}"


def _stability(minima: Sequence[Minimum]) -> Iterator[str]:
    known = [(m, m.stable_lr) for m in minima if m.stable_lr is not None]
    if not known:
        yield "No stable learning rate is given: the optimizer rescales the curvature, or there is none."
        return
    for name, shares in (
        ("final", [(m.group, m.final_lr / stable) for m, stable in known]),
        ("largest", [(m.group, m.largest_lr / stable) for m, stable in known]),
    ):
        most, beyond = max(share for _, share in shares), [group for group, share in shares if share > 1]
        if beyond:
            groups = ", ".join(dict.fromkeys(beyond))
            yield (
                f"The {name} learning rate is beyond the largest stable one of gradient descent at these weights in "
                f"{len(beyond)} of {len(shares)} runs ({groups}), up to {most:.2g} times it."
            )
        else:
            yield f"The {name} learning rate is stable at these weights: at most {most:.2g} times the largest stable one."


def _caveats(found: Minima) -> Iterator[str]:
    yield (
        f"Both are of the cross-entropy of the same {found.examples:,} training examples, without augmentation, dropout "
        "and weight decay, in float32, at the weights that evaluations use."
    )
    if any(m.normalized_over is not None for m in found.minima):
        yield (
            "Batch norm uses each ghost's, or batch's, statistics as in training, so the arms' losses are not quite one "
            "function; weights before it can be scaled without changing the network, but that scales the curvature by "
            "the inverse square (van Laarhoven 2017, arXiv:1706.05350)."
        )
    yield (
        "Sharpness is not invariant: the same network can be written with other weights, as sharp as one likes (Dinh et "
        "al. 2017, arXiv:1703.04933)."
    )
    yield (
        f"Keskar's sharpness is 100 (max f - f)/(1 + f) over |y_i| <= {found.epsilon:g} (|w_i| + 1) (arXiv:1609.04836); "
        "the maximum that ten iterations find may be too low."
    )
    yield (
        "The largest stable learning rate, 2(1 + mu)/lambda_max with momentum mu, is that of full-batch gradient descent "
        "on a quadratic, which training hovers at (Cohen et al. 2021, arXiv:2103.00065). With mini-batches it is the "
        "curvature of the batches that does so, and lambda_max stays lower (Andreyev and Beneventano 2024, "
        "arXiv:2412.20553); with momentum and small batches at 2(1 - mu)/lr instead (arXiv:2604.14108)."
    )


def _graph(minima: Sequence[Minimum], title: str, values: Sequence[float]) -> Graph:
    known = [(m.group, x, m.accuracy_percent) for m, x in zip(minima, values, strict=True) if m.accuracy_percent]
    groups = dict.fromkeys(group for group, _, _ in known)
    return Graph(
        title=f"Accuracy against {title.split(',')[0]}",
        x_title=title,
        y_title="evaluation accuracy, %",
        series=tuple(
            Series(
                one,
                tuple(x for group, x, _ in known if group == one),
                tuple(y for group, _, y in known if group == one),
                style="points",
            )
            for one in groups
        ),
        logarithmic_x=all(x > 0 for _, x, _ in known),
        note="One point per run. If sharpness explained the gap, accuracy would fall to the right.",
    )


def _groups(minima: Sequence[Minimum]) -> Grid:
    headings = ("arm", "runs", "accuracy, %", "Keskar's sharpness, %", "largest eigenvalue")
    rows = []
    for group, own in _by_group(minima).items():
        columns = (
            [m.accuracy_percent for m in own],
            [m.sharpness_percent for m in own],
            [m.largest_eigenvalue for m in own],
        )
        rows.append((group, len(own), *(_plus_minus(spread(column)) for column in columns)))
    return Grid("Arms, mean ± standard deviation", headings, ("", "d", "", "", ""), tuple(rows))


def _runs(minima: Sequence[Minimum]) -> Grid:
    headings = (
        *("run", "arm", "update", "weights", "batch", "batch norm over", "loss, nats", "sharpness, %"),
        *("largest eigenvalue", "stable lr", "final / stable", "largest / stable", "accuracy, %"),
    )
    formats = ("", "", ",d", "", ",d", ",d", ".3g", ".3g", ".3g", ".3g", ".2g", ".2g", ".2f")
    return Grid("Runs", headings, formats, tuple(_row(m) for m in minima))


def _row(m: Minimum) -> tuple[Entry, ...]:
    stable = m.stable_lr
    shares = (None, None) if stable is None else (m.final_lr / stable, m.largest_lr / stable)
    weights = "averaged" if m.averaged else "last"
    measured = (m.loss, m.sharpness_percent, m.largest_eigenvalue, stable, *shares, m.accuracy_percent)
    return (m.run, m.group, m.update, weights, m.batch_size, m.normalized_over, *measured)


def _plus_minus(values: Spread | None) -> str | None:
    if values is None:
        return None
    return f"{values.mean:.4g}" + ("" if values.std is None else f" ± {values.std:.2g}")
