"""Accuracy curves of groups of runs, drawn with characters."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from lbadvisor.cli.display.console import say
from lbadvisor.cli.display.terminal_graph import draw_graph
from lbadvisor.records.axis import Axis
from lbadvisor.records.diagnosis import Graph, Series
from lbadvisor.records.quantities import ACCURACY

if TYPE_CHECKING:
    from lbadvisor.comparison.comparison import Comparison
    from lbadvisor.report.curves import GroupCurves
    from lbadvisor.store import Store

LOG_FROM_RATIO = 4.0
"""Runs whose lengths differ by more than this are drawn over a logarithm: else the short one would be a dot."""
MOST_GROUPS = 12
"""Of more curves nobody tells one from another in sixteen lines."""
MOST_POINTS = 300


def draw_groups(console: Console, store: "Store", comparison: "Comparison", by: Axis) -> None:
    """Draw each group's mean accuracy over `by`; of more than twelve groups only say that they are not drawn."""
    from lbadvisor.report.curves import group_curves

    groups = comparison.groups
    if len(groups) > MOST_GROUPS:
        say(console, f"{len(groups)} groups are too many curves for a terminal: use --html FILE")
        return
    curves = [group_curves(group.label, list(store.columns_of(group.runs)), MOST_POINTS) for group in groups]
    drawn = tuple(series for curve in curves if (series := _series(curve, by)).x)
    ends = [series.x[-1] for series in drawn]
    logarithmic = bool(ends) and max(ends) > LOG_FROM_RATIO * min(ends)
    draw_graph(console, Graph("", str(by), "evaluation accuracy, %", drawn, logarithmic_x=logarithmic))


def _series(group: "GroupCurves", by: Axis) -> Series:
    curve = next(curve for curve in group.curves if curve.quantity is ACCURACY)
    per_update = {Axis.UPDATE: 1.0, Axis.EPOCH: group.epochs_per_update, Axis.EXAMPLE: group.examples_per_update}
    if by is Axis.SECOND:
        positions: Sequence[float] = curve.seconds
    else:
        positions = [update * per_update[by] for update in curve.update]
    points = [(x, y) for x, y in zip(positions, curve.mean, strict=True) if 0 < x < math.inf]
    return Series(group.label, tuple(x for x, _ in points), tuple(y for _, y in points))
