"""Claims about the picture."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lbadvisor.errors import UsageError
from lbadvisor.records.quantities import WEIGHT_DISTANCE
from lbadvisor.report.charts import charts_of
from lbadvisor.report.picture import figure_of, write_picture


def test_the_picture_is_a_png_with_every_groups_colour(report_of, tmp_path: Path):
    path = tmp_path / "chart.png"
    size = write_picture(path, report_of())
    assert size == path.stat().st_size
    pixels = (imread(path)[..., :3] * 255).round().astype(int)
    height, width, _ = pixels.shape
    assert width > height > 600
    seen = {tuple(colour) for colour in pixels.reshape(-1, 3)[::3].tolist()}
    for colour in ((0x22, 0x22, 0x22), (0xB3, 0x36, 0x1B), (0x0F, 0x6C, 0xBF)):
        assert colour in seen


@pytest.mark.parametrize("label", ["$x_1$ costs 5$", "_hidden", "漢字 🙂", "a" * 200, "<b>&amp;</b>\\frac{"])
def test_any_name_is_drawn_as_it_is_written(report_of, tmp_path: Path, label: str):
    """Warnings are errors here: a name is no formula, and a script that the font lacks is no warning."""
    assert write_picture(tmp_path / "chart.png", report_of((label, "LB", "+RA"))) > 10_000


def test_a_weight_distance_that_grows_as_log_t_is_a_straight_line(report_of):
    """As in the paper's Figure 2: from 0.1 to 30 over twenty updates, every slope between two points is the same."""
    report = report_of()
    curves = tuple(
        replace(
            curve,
            **dict.fromkeys(("mean", "low", "high"), tuple(0.1 + 10 * math.log(update) for update in curve.update)),
        )
        for curve in report.curves[0].curves
    )
    charts = charts_of([replace(report.curves[0], curves=curves)])
    place = [chart.key for chart in charts].index(WEIGHT_DISTANCE.key)
    figure = figure_of(replace(report, curves=(replace(report.curves[0], curves=curves),)))
    axes = figure.axes[place]
    x, y = axes.transData.transform(axes.lines[0].get_xydata()).T
    assert np.diff(y) / np.diff(x) == pytest.approx((y[-1] - y[0]) / (x[-1] - x[0]))


def test_many_groups_and_none_measured_are_drawn_too(many_groups_report, tmp_path: Path):
    assert write_picture(tmp_path / "many.png", many_groups_report) > 10_000
    nothing = tuple(
        replace(group, curves=tuple(replace(c, update=()) for c in group.curves)) for group in many_groups_report.curves
    )
    assert write_picture(tmp_path / "none.png", replace(many_groups_report, curves=nothing)) > 1_000


def test_a_picture_is_written_over_its_own_and_over_no_other(report_of, tmp_path: Path):
    path = tmp_path / "chart.png"
    write_picture(path, report_of())
    write_picture(path, report_of())
    path.write_bytes(b"\x89PNG\r\n\x1a\nholiday")
    with pytest.raises(UsageError, match="is not a report of lbadvisor"):
        write_picture(path, report_of())
    assert path.read_bytes().endswith(b"holiday")
