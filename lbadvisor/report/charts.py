"""What the page's script draws from: the charts, with their groups' points, as one JSON object."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lbadvisor.report.appearance import looks_of
from lbadvisor.report.curves import Curve, GroupCurves, Quantity

FAR_APART_FROM_RATIO = 4.0
"""Groups whose lengths in updates differ by more than this factor are at first drawn over a logarithmic axis: on a
linear one the shorter ones would be a stroke at its beginning."""
LOGARITHMIC_FROM_RATIO = 30.0
"""A chart whose values are all above 0 and span more than this factor gets a logarithmic axis of them; the weight
distance never does."""


@dataclass(frozen=True, slots=True)
class ChartText:
    """What is written at a chart: its title, the unit behind it, and what a reader should know of it."""

    title: str
    unit: str
    explanation: str


TEXTS = {
    Quantity.ACCURACY: ChartText("Evaluation accuracy", "%", "Share of the evaluation examples that are right."),
    Quantity.LOSS: ChartText("Training loss", "nats", "Mean over the updates since the measurement before."),
    Quantity.GRADIENT_NORM: ChartText("Gradient norm", "", "Global L2 norm of the gradient, before clipping."),
    Quantity.CLIPPED_SHARE: ChartText("Clipped updates", "%", "Share of the updates whose gradient was clipped."),
    Quantity.LR: ChartText("Learning rate", "", "As the schedule gives it to this update."),
    Quantity.WEIGHT_DISTANCE: ChartText(
        "Weight distance",
        "",
        "L2 norm of w_t - w_0, always over a logarithmic axis: a line that is straight there grows as log t, as in "
        "the paper's Figure 2 (Hoffer et al. 2017, arXiv:1705.08741).",
    ),
}


@dataclass(frozen=True, slots=True)
class Chart:
    """One quantity of all groups; `curves` has one for each group, None where the group has no point of it."""

    quantity: Quantity
    text: ChartText
    curves: tuple[Curve | None, ...]
    logarithmic_values: bool

    @property
    def always_logarithmic_axis(self) -> bool:
        """Whether it is drawn over a logarithmic axis whatever the others are."""
        return self.quantity is Quantity.WEIGHT_DISTANCE

    @property
    def from_zero(self) -> bool:
        """Whether a linear axis of its values begins at 0; accuracies are told apart near 100%."""
        return self.quantity is not Quantity.ACCURACY and not self.logarithmic_values

    @property
    def factor(self) -> float:
        """What its values are multiplied by to be shown: a share is shown in percent."""
        return 100.0 if self.quantity is Quantity.CLIPPED_SHARE else 1.0


def charts_of(groups: Sequence[GroupCurves]) -> tuple[Chart, ...]:
    """The charts that have something to show, in the order of `Quantity`; of clipping only where there was some."""
    charts = []
    for place, quantity in enumerate(Quantity):
        curves = tuple(group.curves[place] if group.curves[place].update else None for group in groups)
        drawn = [curve for curve in curves if curve is not None]
        if quantity is Quantity.CLIPPED_SHARE:
            drawn = [curve for curve in drawn if any(curve.high)]
        if drawn:
            # On two logarithmic axes what grows as log t would not be straight.
            logarithmic = quantity is not Quantity.WEIGHT_DISTANCE and _spans_decades(drawn)
            charts.append(Chart(quantity, TEXTS[quantity], curves, logarithmic))
    return tuple(charts)


def far_apart(charts: Sequence[Chart]) -> bool:
    """Whether the groups' lengths are so far apart that their curves are told apart over a logarithmic axis only."""
    ends = [curve.update[-1] for chart in charts for curve in chart.curves if curve is not None]
    return bool(ends) and max(ends) > FAR_APART_FROM_RATIO * min(ends)


def _spans_decades(curves: Iterable[Curve]) -> bool:
    ends = [end for curve in curves for end in (min(curve.low), max(curve.high))]
    return min(ends) > 0 and max(ends) > LOGARITHMIC_FROM_RATIO * min(ends)


def chart_data(groups: Sequence[GroupCurves], charts: Sequence[Chart]) -> dict[str, Any]:
    """The JSON object of the page: `groups` (label, runs, clock, look) and `charts` (points of each group)."""
    return {
        "groups": [
            {
                "label": group.label,
                "runs": group.runs,
                "epochs_per_update": _number(group.epochs_per_update),
                "examples_per_update": _number(group.examples_per_update),
                "light": look.light,
                "dark": look.dark,
                "dashes": look.dashes,
                "marker": look.marker,
            }
            for group, look in zip(groups, looks_of(len(groups)), strict=True)
        ],
        "charts": [
            {
                "quantity": chart.quantity.value,
                "unit": chart.text.unit,
                "logarithmic_values": chart.logarithmic_values,
                "from_zero": chart.from_zero,
                "logarithmic_axis": chart.always_logarithmic_axis,
                "curves": [
                    None if curve is None else _points(curve, chart.factor, with_band=group.runs > 1)
                    for curve, group in zip(chart.curves, groups, strict=True)
                ],
            }
            for chart in charts
        ],
    }


def _points(curve: Curve, factor: float, *, with_band: bool) -> dict[str, Any]:
    points: dict[str, Any] = {
        "update": curve.update,
        "second": [_digits(value) for value in curve.seconds],
        "mean": [_digits(value * factor) for value in curve.mean],
    }
    if with_band:
        points["low"] = [_digits(value * factor) for value in curve.low]
        points["high"] = [_digits(value * factor) for value in curve.high]
    return points


def _digits(value: float) -> float:
    """Five digits: as many as a chart shows, in a page of half the size."""
    return float(f"{value:.5g}")


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
