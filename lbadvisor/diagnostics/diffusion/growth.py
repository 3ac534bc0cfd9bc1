"""The law by which a weight distance grows with the updates: a logarithm, a square root, or another power.

Hoffer et al. 2017 (arXiv:1705.08741) find the logarithm, which a walk on a random potential has; on a flat one the
distance grows as the square root.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from lbadvisor.report.thinning import Floats

LEAST_DECADES = 1.5
"""Over less the laws can hardly be told apart. In the paper's Figure 2 batches of 512 and more cover 1.3."""
LEAST_POINTS = 12
NO_SPAN = "fewer than two measurements lie between momentum's full speed and the first fall of the learning rate"
LEAST_FITTED = 6
"""Of fewer points not even the slope is told."""
POINTS_PER_DECADE = 10
MARGIN = 4.0
"""By so much must the AIC of a law be below that of each other law."""
HALF_REJECTED = 9.0
"""The deviance, for many points, at which an exponent lies three standard errors from 1/2."""
CORRELATION_LENGTHS = np.geomspace(0.02, 20, 13)
"""In units of ln t; a correlation over 20 is one over all that was ever measured."""
EXPONENTS = (0.02, 2.0)


class Law(StrEnum):
    """How a distance d grows with the updates t."""

    LOGARITHM = "logarithm"
    SQUARE_ROOT = "square root"
    POWER = "power law"


@dataclass(frozen=True, slots=True)
class LawFit:
    """A law fitted to distances: offset + slope * ln t, offset + slope * sqrt t, or slope * t^exponent.

    `explained` is the share of the variance that least squares explains, at most 1; `aic` is Akaike's criterion with
    residuals that are correlated, and the lower the better.
    """

    law: Law
    offset: float
    slope: float
    exponent: float | None
    explained: float
    aic: float

    def at(self, update: float) -> float:
        """The distance that the law has at an update."""
        return self.offset + self.slope * float(_shape(self.law, self.exponent)(np.array(update)))


@dataclass(frozen=True, slots=True)
class DistanceGrowth:
    """How a distance grew over `decades` of updates: the three fits, and the law, or why it is undetermined.

    `updates` and `distances` are the points that are fitted, equally far apart in ln t; there are no fits to fewer than
    `LEAST_FITTED`, and no law of fewer than `LEAST_POINTS`.
    """

    updates: tuple[int, ...]
    distances: tuple[float, ...]
    decades: float
    fits: tuple[LawFit, ...]
    law: Law | None
    undetermined: str | None

    def fit(self, law: Law) -> LawFit | None:
        """The fit of that law; None if there are no fits."""
        return next((fit for fit in self.fits if fit.law is law), None)


def growth_of(updates: Floats, distances: Floats) -> DistanceGrowth:
    """How `distances` grew over `updates`, which ascend from 1 or later.

    The successive distances of one run are strongly correlated: were each counted as evidence, any small difference
    between the laws would look certain. So the points are thinned, and the residuals of each law have a correlation
    that decays exponentially in ln t, over a length that is fitted with the law by maximum likelihood. Offset and
    slope, which are drawn, are fitted to the same points by least squares.
    """
    t, d = evenly_in_ln_t(updates, distances)
    decades = float(np.log10(t[-1] / t[0])) if len(t) else 0.0
    fits: tuple[LawFit, ...] = ()
    law, why = None, f"{len(t)} measurements apart in ln t are too few, {LEAST_POINTS} are needed"
    if len(t) >= LEAST_FITTED:
        fits = tuple(_fit(law, t, d) for law in Law)
    if len(t) >= LEAST_POINTS:
        law, why = _chosen(t, d, fits)
    if decades < LEAST_DECADES:
        law, why = None, _too_few(t, decades)
    points = tuple(map(int, t)), tuple(map(float, d))
    return DistanceGrowth(*points, decades, fits, law, None if law is not None else why)


def _too_few(t: Floats, decades: float) -> str:
    if len(t) < 2:
        return NO_SPAN
    return f"updates {t[0]:,.0f} to {t[-1]:,.0f} cover {decades:.1f} decades, and {LEAST_DECADES} are needed"


def evenly_in_ln_t(updates: Floats, distances: Floats) -> tuple[Floats, Floats]:
    """The points nearest to a grid of `POINTS_PER_DECADE` in ln t, the first and the last among them."""
    if not len(updates):
        return updates, distances
    logs = np.log(updates)
    grid = np.linspace(logs[0], logs[-1], 1 + round(POINTS_PER_DECADE * (logs[-1] - logs[0]) / np.log(10)))
    after = np.searchsorted(logs, grid).clip(1, max(len(logs) - 1, 1))
    nearest = np.where(grid - logs[after - 1] <= logs[after % len(logs)] - grid, after - 1, after)
    places = np.unique(np.append(nearest, len(logs) - 1))
    return updates[places], distances[places]


def _shape(law: Law, exponent: float | None) -> Callable[[Floats], Floats]:
    if law is Law.LOGARITHM:
        return np.log
    return np.sqrt if exponent is None else lambda t: t**exponent


def _design(law: Law, t: Floats, exponent: float | None) -> Floats:
    """The columns that a law is a linear combination of; a power law has no offset."""
    grown = _shape(law, exponent)(t)
    return grown[:, None] if law is Law.POWER else np.column_stack([grown, np.ones_like(t)])


def _fit(law: Law, t: Floats, d: Floats) -> LawFit:
    exponent = None
    if law is Law.POWER:
        from scipy.optimize import minimize_scalar

        found = minimize_scalar(lambda p: _deviance(_design(law, t, p), t, d), bounds=EXPONENTS, method="bounded")
        exponent = float(found.x)
    design = _design(law, t, exponent)
    (slope, *offset), *_ = np.linalg.lstsq(design, d, rcond=None)
    left = d - design @ np.array([slope, *offset])
    explained = 1 - left @ left / max(np.square(d - d.mean()).sum(), np.finfo(np.float64).tiny)
    # Each has two parameters, and two more for its residuals: their variance and their correlation length.
    aic = _deviance(design, t, d) + 2 * 4
    return LawFit(law, float(sum(offset)), float(slope), exponent, float(explained), float(aic))


def _deviance(design: Floats, t: Floats, d: Floats) -> float:
    """-2 ln of the likelihood, but for a constant, with the best correlation length of the residuals."""
    steps, least = np.diff(np.log(t)), np.inf
    for length in CORRELATION_LENGTHS:
        kept = np.exp(-steps / length)
        # What is new in each point, in units of its deviation: independent if the model holds.
        rows = np.column_stack([design, d])
        rows[1:] = (rows[1:] - kept[:, None] * rows[:-1]) / np.sqrt(1 - kept**2)[:, None]
        weights, *_ = np.linalg.lstsq(rows[:, :-1], rows[:, -1], rcond=None)
        squares = np.square(rows[:, -1] - rows[:, :-1] @ weights).sum()
        least = min(least, len(t) * np.log(max(squares, 1e-300) / len(t)) + np.log(1 - kept**2).sum())
    return float(least)


def _chosen(t: Floats, d: Floats, fits: tuple[LawFit, ...]) -> tuple[Law | None, str]:
    """The law that the data tell from the others, or None and why not."""
    best, second, _ = sorted(fits, key=lambda fit: fit.aic)
    by_law = {fit.law: fit for fit in fits}
    closest = max(fits, key=lambda fit: fit.explained)
    if best.slope <= 0:
        return None, "the distance does not grow"
    half = _deviance(_design(Law.POWER, t, 0.5), t, d) - (by_law[Law.POWER].aic - 2 * 4)
    # c t^1/2 is in both families: it is a square root unless the exponent is shown to be another.
    is_root = half < HALF_REJECTED * len(t) / (len(t) - 4) and closest.law is not Law.LOGARITHM
    if is_root and by_law[Law.LOGARITHM].aic - best.aic >= MARGIN:
        return Law.SQUARE_ROOT, ""
    if second.aic - best.aic < MARGIN:
        return None, f"a {best.law} and a {second.law} fit alike"
    if closest is not best:
        return None, f"a {best.law} fits its growth from point to point, a {closest.law} its size"
    return best.law, ""
