"""The sharpness of runs' minima beside their accuracy, for the dispute over what makes large batches worse.

Keskar et al. 2017 (arXiv:1609.04836) say that large batches find sharp minima, which generalize worse; Hoffer, Hubara,
Soudry 2017 (arXiv:1705.08741) that the gap comes from too few updates.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lbadvisor.comparison.comparison import Spread
from lbadvisor.comparison.groups import spread
from lbadvisor.comparison.intervals import mean_of
from lbadvisor.records.bounded import Bounded
from lbadvisor.records.diagnosis import Diagnosis, Entry, Graph, Grid, Series

ALIKE = 2.0
"""Training losses within this factor are of one depth."""


@dataclass(frozen=True, slots=True)
class Minimum:
    """What was measured at one run's weights after `update` updates: those that its evaluations use.

    They are `averaged` if the recipe averages them. `sharpness_percent` is Keskar's,
    `largest_eigenvalue` the loss's Hessian's. `stable_lr` is the largest stable learning rate, None for an adaptive
    optimizer, `final_lr` and `largest_lr` are the run's own. `normalized_over` is the number of examples that share
    batch norm's statistics, None without batch norm.
    """

    run: str
    arm: str
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
class Contrast:
    """The least accurate arm beside the most accurate: how many `points` are between them, and ratios of sharpness.

    The interval of the points allows for both arms having been chosen by their accuracy. Ratios are worse to better,
    geometric means; None if a measure is not above 0. `losses` are the mean ones of both.
    """

    worse: str
    better: str
    points: Bounded
    sharpness: Bounded | None
    eigenvalue: Bounded | None
    losses: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Minima:
    """The minima of several runs on the same `examples` training examples; `contrast` is None for a single arm."""

    examples: int
    epsilon: float
    minima: tuple[Minimum, ...]
    contrast: Contrast | None


def minima_of(examples: int, epsilon: float, minima: Sequence[Minimum]) -> Minima:
    """The minima, and the contrast of the least and the most accurate arm over the seeds that both have."""
    arms = {arm: [m for m in minima if m.arm == arm] for arm in dict.fromkeys(m.arm for m in minima)}
    means = {arm: found.mean for arm, own in arms.items() if (found := spread([m.accuracy_percent for m in own]))}
    worse, better = (choose(means, key=means.__getitem__, default="") for choose in (min, max))
    known = [(a, b) for a in arms.get(worse, ()) for b in arms.get(better, ()) if a.seed == b.seed]
    pairs = [(a, b) for a, b in known if a.accuracy_percent is not None and b.accuracy_percent is not None]
    contrast = None if worse == better or not pairs else _contrast(pairs, math.comb(len(means), 2))
    return Minima(examples, epsilon, tuple(minima), contrast)


def _contrast(pairs: Sequence[tuple[Minimum, Minimum]], among: int) -> Contrast:
    return Contrast(
        worse=pairs[0][0].arm,
        better=pairs[0][1].arm,
        points=mean_of([(b.accuracy_percent or 0.0) - (a.accuracy_percent or 0.0) for a, b in pairs], among),
        sharpness=_ratio([(a.sharpness_percent, b.sharpness_percent) for a, b in pairs]),
        eigenvalue=_ratio([(a.largest_eigenvalue, b.largest_eigenvalue) for a, b in pairs]),
        losses=(statistics.fmean(a.loss for a, _ in pairs), statistics.fmean(b.loss for _, b in pairs)),
    )


def _ratio(pairs: Sequence[tuple[float, float]]) -> Bounded | None:
    if any(min(pair) <= 0 for pair in pairs):
        return None
    return mean_of([math.log(a / b) for a, b in pairs]).mapped(math.exp)


def diagnosis_of_minima(found: Minima) -> Diagnosis:
    """The minima in words, accuracy against each measure, and their tables."""
    minima = found.minima
    return Diagnosis(
        title=f"Sharpness of the minima: {', '.join(dict.fromkeys(m.arm for m in minima))}",
        conclusion="\n".join(" ".join(part) for part in (_comparison(found), _stability(minima))),
        graphs=(
            _graph(minima, "Keskar's sharpness, %", [m.sharpness_percent for m in minima]),
            _graph(minima, "largest eigenvalue of the Hessian", [m.largest_eigenvalue for m in minima]),
        ),
        grids=(_arms(minima), _runs(minima)),
        caveats=tuple(_caveats(found)),
    )


def _comparison(found: Minima) -> Iterator[str]:
    contrast = found.contrast
    if contrast is None:
        for arm in dict.fromkeys(m.arm for m in found.minima):
            own = [m for m in found.minima if m.arm == arm]
            sharpness, eigenvalue = (
                statistics.fmean(one)
                for one in zip(*((m.sharpness_percent, m.largest_eigenvalue) for m in own), strict=True)
            )
            yield f"{arm}: Keskar's sharpness is {sharpness:.3g}%, the Hessian's largest eigenvalue {eigenvalue:.3g}."
        yield "There is no second arm with an accuracy and the same seeds to compare that with."
        return
    points = contrast.points
    yield (
        f"{contrast.worse} is the least accurate arm, {points.value:.2f} points{points.within('.2f', '95% ')} below "
        f"{contrast.better}. It is {_compared(contrast.sharpness)} by Keskar's measure, and "
        f"{_compared(contrast.eigenvalue)} by the Hessian's largest eigenvalue."
    )
    sides = {_side(contrast.sharpness), _side(contrast.eigenvalue)}
    if points.low is None:
        yield "One seed gives no interval, so this may be chance."
    elif not points.excludes(0):
        yield "But the accuracies do not differ beyond chance, so this says nothing about generalization."
    elif sides == {"sharper"}:
        yield "So the arm that generalizes worse is the sharper one by both measures, as Keskar et al. 2017 say."
    elif "sharper" in sides:
        yield "So the arm that generalizes worse is the sharper one by one measure, but not by the other."
    elif "flatter" in sides:
        yield "So the arm that generalizes worse is the flatter one: sharpness does not explain this gap."
    else:
        yield "So neither measure tells the two arms apart."
    if max(contrast.losses) > ALIKE * min(contrast.losses):
        yield (
            f"Their training losses differ, {contrast.losses[0]:.2g} and {contrast.losses[1]:.2g}, and the "
            "curvature of a cross-entropy depends on them: these are not two minima of one depth."
        )


def _side(ratio: Bounded | None) -> str:
    """Whether the worse arm's minimum is sharper or flatter; empty if that is not certain."""
    if ratio is None or not ratio.excludes(1):
        return ""
    return "sharper" if ratio.value > 1 else "flatter"


def _compared(ratio: Bounded | None) -> str:
    return "not comparable" if ratio is None else f"{ratio.value:.2f} times as sharp{ratio.within('.2f', '95% ')}"


def _stability(minima: Sequence[Minimum]) -> Iterator[str]:
    stable = [(m, m.stable_lr) for m in minima if m.stable_lr is not None]
    for name, shares in (
        ("final", [(m.arm, m.final_lr / limit) for m, limit in stable]),
        ("highest", [(m.arm, m.largest_lr / limit) for m, limit in stable]),
    ):
        beyond = [arm for arm, share in shares if share > 1]
        most = max((share for _, share in shares), default=0.0)
        if beyond:
            yield (
                f"The {name} learning rate is above the largest that is stable at these weights in {len(beyond)} of "
                f"{len(shares)} runs ({', '.join(dict.fromkeys(beyond))}), up to {most:.2g} times it."
            )
        elif shares:
            yield f"The {name} learning rate is at most {most:.2g} times the largest that is stable at these weights."


def _caveats(found: Minima) -> Iterator[str]:
    yield (
        f"Measured on the cross-entropy of the same {found.examples:,} training examples, without augmentation, "
        "dropout or weight decay, in float32, at the weights that evaluations use."
    )
    if any(m.normalized_over is not None for m in found.minima):
        yield (
            "Batch norm uses the statistics of each ghost or batch, as in training, so the arms' losses are not quite "
            "one function. Scaling the weights before a batch norm by c leaves the network as it is, and divides their "
            "curvature by c^2 (own algebra)."
        )
    yield (
        "Sharpness depends on how a network is written down: the same function has minima as sharp as one likes (Dinh "
        "et al. 2017, arXiv:1703.04933)."
    )
    yield (
        f"Keskar's measure is 100 (max f - f)/(1 + f) over |y_i| <= {found.epsilon:g} (|w_i| + 1) (arXiv:1609.04836). "
        "The maximum is the one that ten iterations of L-BFGS-B found, and may be too low."
    )
    yield (
        "The largest stable learning rate is that of full-batch gradient descent on a quadratic, 2(1 + mu)/lambda_max "
        "with momentum mu (own algebra). Full-batch training without momentum hovers at that edge (Cohen et al. 2021, "
        "arXiv:2103.00065), but mini-batches keep lambda_max below it (Andreyev and Beneventano 2024, "
        "arXiv:2412.20553): a rate within it may already be the largest that trains."
    )


def _graph(minima: Sequence[Minimum], title: str, values: Sequence[float]) -> Graph:
    arms: dict[str, list[tuple[float, float]]] = {}
    for m, value in zip(minima, values, strict=True):
        if m.accuracy_percent is not None:
            arms.setdefault(m.arm, []).append((value, m.accuracy_percent))
    return Graph(
        title=f"Accuracy against {title.removesuffix(', %')}",
        x_title=title,
        y_title="evaluation accuracy, %",
        series=tuple(
            Series(arm, tuple(x for x, _ in points), tuple(y for _, y in points), style="points")
            for arm, points in arms.items()
        ),
        logarithmic_x=min(values) > 0,
        note="One point per run. If sharpness explained the gap, accuracy would fall from left to right.",
    )


def _arms(minima: Sequence[Minimum]) -> Grid:
    headings = ("arm", "runs", "accuracy, %", "Keskar's sharpness, %", "largest eigenvalue")
    rows = []
    for arm in dict.fromkeys(m.arm for m in minima):
        own = [(m.accuracy_percent, m.sharpness_percent, m.largest_eigenvalue) for m in minima if m.arm == arm]
        rows.append((arm, len(own), *(_plus_minus(spread(column), ".2f") for column in zip(*own, strict=True))))
    return Grid("Arms, mean ± standard deviation", headings, ("", "d", "", "", ""), tuple(rows))


def _plus_minus(found: Spread | None, form: str) -> str | None:
    if found is None:
        return None
    return f"{found.mean:{form}}" + ("" if found.std is None else f" ± {found.std:{form}}")


def _runs(minima: Sequence[Minimum]) -> Grid:
    headings = (
        *("run", "largest eigenvalue", "sharpness, %", "final / stable lr", "largest / stable lr", "loss"),
        *("batch", "batch norm over", "update", "weights"),
    )
    formats = ("", ".3g", ".3g", ".2g", ".2g", ".3g", ",d", ",d", ",d", "")
    return Grid("Runs", headings, formats, tuple(_row(m) for m in minima))


def _row(m: Minimum) -> tuple[Entry, ...]:
    shares = (None, None) if m.stable_lr is None else (m.final_lr / m.stable_lr, m.largest_lr / m.stable_lr)
    where = (m.batch_size, m.normalized_over, m.update, "averaged" if m.averaged else "last")
    return (m.run, m.largest_eigenvalue, m.sharpness_percent, *shares, m.loss, *where)
