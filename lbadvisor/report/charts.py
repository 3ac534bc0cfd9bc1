"""What the page's script draws from: the charts, with their groups' points, as one JSON object."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lbadvisor.records.quantities import DRAWN, Drawing, Quantity
from lbadvisor.report.appearance import looks_of
from lbadvisor.report.curves import Curve, GroupCurves

FAR_APART_FROM_RATIO = 4.0
"""Groups whose lengths in updates differ by more than this factor are at first drawn over a logarithmic axis: on a
linear one the shorter ones would be a stroke at its beginning."""
LOGARITHMIC_FROM_RATIO = 30.0
"""A chart whose values are all above 0 and span more than this factor gets a logarithmic axis of them, if its
quantity allows it."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One quantity of all groups; `curves` has one for each group, None if the group has no point of it."""

    quantity: Quantity
    drawing: Drawing
    curves: tuple[Curve | None, ...]
    logarithmic_values: bool

    @property
    def from_zero(self) -> bool:
        """Whether the axis of its values begins at 0."""
        return self.drawing.from_zero and not self.logarithmic_values


def charts_of(groups: Sequence[GroupCurves]) -> tuple[Chart, ...]:
    """The charts that have something to show, in the order of `DRAWN`."""
    charts = []
    for place, quantity in enumerate(DRAWN):
        curves = tuple(group.curves[place] if group.curves[place].update else None for group in groups)
        drawn, drawing = [curve for curve in curves if curve is not None], quantity.drawing
        if drawing is not None and drawn and (not drawing.if_any or any(any(curve.high) for curve in drawn)):
            charts.append(Chart(quantity, drawing, curves, drawing.logarithmic_values and _spans_decades(drawn)))
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
                "quantity": chart.quantity.key,
                "unit": chart.quantity.unit,
                "logarithmic_values": chart.logarithmic_values,
                "from_zero": chart.from_zero,
                "logarithmic_axis": chart.drawing.logarithmic_axis,
                "curves": [
                    None if curve is None else _points(curve, chart.quantity.factor, with_band=group.runs > 1)
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
