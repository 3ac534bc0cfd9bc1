"""Charts as a page and a picture both draw them: a graph with the look of each of its series."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lbadvisor.records.diagnosis import Diagnosis, Graph, Series
from lbadvisor.records.quantities import DRAWN
from lbadvisor.report.appearance import DASHES, Look, looks_of
from lbadvisor.report.curves import Curve, GroupCurves

FAR_APART_FROM_RATIO = 4.0
"""Groups whose lengths in updates differ by more than this factor are at first drawn over a logarithmic axis: on a
linear one the shorter ones would be a stroke at its beginning."""
LOGARITHMIC_FROM_RATIO = 30.0
"""A chart whose values are all above 0 and span more than this factor gets a logarithmic axis of them, if its
quantity allows it."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Of a series over updates: the place of its group among the groups, and the seconds of training at each point."""

    group: int
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A graph with a look for each of its series; `key` names it on its page.

    The axis of its values begins at 0 if `from_zero`. A chart over updates has a clock for each series.
    """

    key: str
    graph: Graph
    looks: tuple[Look, ...]
    from_zero: bool = False
    clocks: tuple[Clock, ...] = ()


def diagnosis_charts(diagnosis: Diagnosis, part: int = 1) -> tuple[Chart, ...]:
    """The graphs of a page's diagnosis number `part`; series of one label look alike in all of them.

    A fitted line has the colour of the points that it was fitted to, and dashes of its own.
    """
    own = [{one.label: None for one in graph.series if one.like is None} for graph in diagnosis.graphs]
    labels = list(dict.fromkeys(label for of_graph in own for label in of_graph))
    looks = dict(zip(labels, looks_of(len(labels)), strict=True))
    charts = []
    for place, graph in enumerate(diagnosis.graphs, start=1):
        charts.append(Chart(f"{part}-{place}", _within_sight(graph), _looks(graph, looks)))
    return tuple(charts)


def _looks(graph: Graph, looks: Mapping[str, Look]) -> tuple[Look, ...]:
    fitted: Counter[int] = Counter()
    found = []
    for series in graph.series:
        if series.like is None:
            look = looks[series.label]
            undashed = series.style == "dashed" and look.dashes == "none"
            found.append(replace(look, dashes=DASHES[1]) if undashed else look)
        else:
            kin = graph.series[series.like]
            look = looks[kin.label]
            others = [dashes for dashes in DASHES[1:] if kin.style == "points" or dashes != look.dashes]
            dashes = "none" if series.style == "line" else others[fitted[series.like] % len(others)]
            fitted[series.like] += series.style == "dashed"
            found.append(replace(look, dashes=dashes, marker=None))
    return tuple(found)


def _within_sight(graph: Graph) -> Graph:
    """The graph with bands that end where its axis ends: an end may be infinite, or have no logarithm."""
    values = [v for s in graph.series for v in (*s.y, *(s.low or ()), *(s.high or ())) if math.isfinite(v)]
    if graph.logarithmic_y:
        values = [value for value in values if value > 0]
    if not values:
        return graph
    low, high = min(values), max(values)
    lowest, highest = (low / 2, high * 2) if graph.logarithmic_y else (low - (high - low) / 4, high + (high - low) / 4)

    def bounded(ends: tuple[float, ...] | None) -> tuple[float, ...] | None:
        # What is not a number stays so: there is no band there.
        return None if ends is None else tuple(e if math.isnan(e) else min(max(e, lowest), highest) for e in ends)

    series = tuple(replace(one, low=bounded(one.low), high=bounded(one.high)) for one in graph.series)
    return replace(graph, series=series)


def charts_of(groups: Sequence[GroupCurves]) -> tuple[Chart, ...]:
    """The charts over updates that have something to show, in the order of `DRAWN`; groups without a point are absent.

    A band spans the lowest to the highest run.
    """
    looks = looks_of(len(groups))
    charts = []
    for place, quantity in enumerate(DRAWN):
        drawing, shown = quantity.drawing, [number for number, group in enumerate(groups) if group.curves[place].update]
        curves = [groups[number].curves[place] for number in shown]
        if drawing is None or not curves or (drawing.if_any and not any(any(curve.high) for curve in curves)):
            continue
        logarithmic = drawing.logarithmic_values and _spans_decades(curves)
        graph = Graph(
            title=drawing.title + (f", {quantity.unit}" if quantity.unit else ""),
            x_title="update",
            y_title="",
            series=tuple(_series(groups[n], curve, quantity.factor) for n, curve in zip(shown, curves, strict=True)),
            logarithmic_x=drawing.logarithmic_axis,
            logarithmic_y=logarithmic,
            note=f"{quantity.explanation}{drawing.note}.",
        )
        clocks = tuple(Clock(number, curve.seconds) for number, curve in zip(shown, curves, strict=True))
        chosen = tuple(looks[number] for number in shown)
        charts.append(Chart(quantity.key, graph, chosen, drawing.from_zero and not logarithmic, clocks))
    return tuple(charts)


def _series(group: GroupCurves, curve: Curve, factor: float) -> Series:
    mean, low, high = (tuple(v * factor for v in values) for values in (curve.mean, curve.low, curve.high))
    band = (low, high) if group.runs > 1 else (None, None)
    return Series(group.label, curve.update, mean, *band)


def _spans_decades(curves: Iterable[Curve]) -> bool:
    ends = [end for curve in curves for end in (min(curve.low), max(curve.high))]
    return min(ends) > 0 and max(ends) > LOGARITHMIC_FROM_RATIO * min(ends)


def far_apart(charts: Sequence[Chart]) -> bool:
    """Whether the groups' lengths are so far apart that their curves are told apart over a logarithmic axis only."""
    ends = [series.x[-1] for chart in charts for series in chart.graph.series]
    return bool(ends) and max(ends) > FAR_APART_FROM_RATIO * min(ends)


def chart_data(charts: Sequence[Chart], groups: Sequence[GroupCurves] = ()) -> dict[str, Any]:
    """What the page's script draws from: `groups` (their clocks' rates) and `charts` (the points of each series)."""
    return {
        "groups": [
            {
                "epochs_per_update": _number(group.epochs_per_update),
                "examples_per_update": _number(group.examples_per_update),
            }
            for group in groups
        ],
        "charts": [
            {
                "key": chart.key,
                "x_title": chart.graph.x_title,
                "y_title": chart.graph.y_title,
                "logarithmic_x": chart.graph.logarithmic_x,
                "logarithmic_y": chart.graph.logarithmic_y,
                "from_zero": chart.from_zero,
                "lines": list(_lines(chart)),
            }
            for chart in charts
        ],
    }


def _lines(chart: Chart) -> Iterable[dict[str, Any]]:
    for place, (series, look) in enumerate(zip(chart.graph.series, chart.looks, strict=True)):
        line: dict[str, Any] = {
            "label": series.label,
            "style": series.style,
            "light": look.light,
            "dark": look.dark,
            "dashes": look.dashes,
            "marker": look.marker,
            "x": series.x if chart.clocks else [_digits(value) for value in series.x],
            "y": [_digits(value) for value in series.y],
        }
        if series.low is not None and series.high is not None:
            line["low"] = [_digits(value) for value in series.low]
            line["high"] = [_digits(value) for value in series.high]
        if chart.clocks:
            clock = chart.clocks[place]
            line |= {"group": clock.group, "second": [_digits(value) for value in clock.seconds]}
        yield line


def _digits(value: float) -> float | None:
    """Five digits: as many as a chart shows, in a page of half the size."""
    return _number(float(f"{value:.5g}"))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
