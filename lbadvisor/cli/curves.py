"""Accuracy curves of several runs, drawn with characters."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from lbadvisor.advisor.records import Measurement
from lbadvisor.cli.options import Axis

Curve = tuple[str, Sequence[Measurement]]
"""A run's name and its measurements."""

HEIGHT = 16
COLOURS = (12, 9, 10, 13, 14, 11)
"""Terminal colours, by their numbers of 256."""
LETTERS = "123456789abcdefghijklmnopqrstuvwxyz"
LOG_FROM_RATIO = 4.0
"""Runs whose lengths differ by more than this are drawn over a logarithm: else the short one would be a dot."""


def draw_accuracy(console: Console, curves: Sequence[Curve], by: Axis) -> None:
    """Draw evaluation accuracy, in percent, over `by` to the console; nothing where no run was evaluated.

    Curves differ by colour; where there is none (no terminal, `NO_COLOR`, too many runs), by the character.
    """
    import plotext

    drawn = [(name, points) for name, measurements in curves if (points := _points(measurements, by))]
    if not drawn:
        return
    ends = [points[-1][0] for _, points in drawn]
    logarithmic = max(ends) > LOG_FROM_RATIO * min(ends)
    coloured = console.color_system is not None and not console.no_color and len(drawn) <= len(COLOURS)

    # plotext 6 has one figure for the whole process: it is cleared first, and freed from the terminal's size.
    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.plot_size(console.width, HEIGHT)
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
    console.print(legend)
    console.print(Text.from_ansi(figure.build().string(colorless=not coloured)), no_wrap=True, crop=False)


def _points(measurements: Sequence[Measurement], by: Axis) -> list[tuple[float, float]]:
    points = []
    for m in measurements:
        position = {Axis.UPDATE: m.update, Axis.EPOCH: m.epoch, Axis.EXAMPLE: m.examples, Axis.SECOND: m.seconds}[by]
        accuracy = m.evaluation_accuracy_percent
        if accuracy is not None and math.isfinite(accuracy) and position > 0:
            points.append((float(position), accuracy))
    return points


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    """Round numbers between low and high, both included where they are round: at most about eight."""
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
