"""Accuracy curves of groups of runs, drawn with characters."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from lbadvisor.cli.display.console import CHART_WIDTH, say
from lbadvisor.records.axis import Axis
from lbadvisor.records.quantities import ACCURACY

if TYPE_CHECKING:
    from lbadvisor.comparison.comparison import Comparison
    from lbadvisor.report.curves import GroupCurves
    from lbadvisor.store import Store

Points = Sequence[tuple[float, float]]
"""Positions and accuracies in percent."""

HEIGHT = 16
COLOURS = (12, 9, 10, 13, 14, 11)
"""Terminal colours, by their numbers of 256."""
LETTERS = "123456789abcdefghijklmnopqrstuvwxyz"
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
    draw_accuracy(console, [(curve.label, _points(curve, by)) for curve in curves], by)


def draw_accuracy(console: Console, curves: Sequence[tuple[str, Points]], by: Axis) -> None:
    """Draw evaluation accuracy, in percent, over `by` to the console; nothing if no run was evaluated.

    Curves differ by colour or, without colours (no terminal, `NO_COLOR`, too many runs), by the character.
    """
    import plotext

    drawn = [(name, points) for name, points in curves if points]
    if not drawn:
        return
    ends = [points[-1][0] for _, points in drawn]
    logarithmic = max(ends) > LOG_FROM_RATIO * min(ends)
    coloured = console.color_system is not None and not console.no_color and len(drawn) <= len(COLOURS)

    # plotext 6 has one figure for the whole process: it is cleared first, and freed from the terminal's size.
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(min(console.width, CHART_WIDTH), HEIGHT)
    figure.theme("colorless")
    legend = Text("evaluation accuracy, %  ")
    for index, (name, points) in enumerate(drawn):
        letter = LETTERS[index % len(LETTERS)]
        colour = COLOURS[index] if coloured else None
        marker = plotext.marker("braille" if coloured else letter, colour)
        x = [math.log10(position) if logarithmic else position for position, _ in points]
        figure.draw(figure.signal(x, [accuracy for _, accuracy in points], marker=marker).lines())
        legend.append(f"  {'━' if coloured else letter} {name}", style=f"color({colour})" if coloured else "")
    ticks = _ticks(min(points[0][0] for _, points in drawn), max(ends), logarithmic)
    figure.ruler("x", "lower").ticks([math.log10(t) if logarithmic else t for t in ticks], [f"{t:g}" for t in ticks])
    figure.label(f"{by}{' (logarithmic)' if logarithmic else ''}", "x", "lower")
    say(console, legend)
    console.print(Text.from_ansi(figure.build().string(colorless=not coloured)), no_wrap=True, crop=False)


def _points(group: "GroupCurves", by: Axis) -> Points:
    curve = next(curve for curve in group.curves if curve.quantity is ACCURACY)
    per_update = {Axis.UPDATE: 1.0, Axis.EPOCH: group.epochs_per_update, Axis.EXAMPLE: group.examples_per_update}
    if by is Axis.SECOND:
        positions: Sequence[float] = curve.seconds
    else:
        positions = [update * per_update[by] for update in curve.update]
    return [(x, y) for x, y in zip(positions, curve.mean, strict=True) if x > 0]


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Round numbers between low and high, both included if they are round: at most about eight."""
    if logarithmic:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        leading = (1, 2, 5) if len(powers) < 4 else (1,)
        candidates = [digit * 10.0**power for power in powers for digit in leading]
    else:
        rough = (high - low) / 6 or high
        power = 10.0 ** math.floor(math.log10(rough))
        spacing = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough)
        candidates = [spacing * index for index in range(math.floor(low / spacing), math.ceil(high / spacing) + 1)]
    return [tick for tick in candidates if low <= tick <= high] or [low]
