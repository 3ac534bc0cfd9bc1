"""Claims about the curves of groups, by hand."""

import math
from array import array

import pytest

from lbadvisor.records.measured_columns import Columns
from lbadvisor.records.quantities import (
    ACCURACY,
    CLIPPED_SHARE,
    GRADIENT_NORM,
    LEARNING_RATE,
    LOSS,
    WEIGHT_DISTANCE,
    Quantity,
)
from lbadvisor.report.charts import chart_data, charts_of
from lbadvisor.report.curves import POINTS_PER_CURVE, group_curves, points_per_curve

INF = math.inf


def run(updates: list[int], loss: list[float], accuracy: list[float] | None = None) -> Columns:
    """A run with that loss, clipped in half of its updates; all else is 1."""
    ones = array("d", [1.0] * len(updates))
    return Columns(
        epochs_per_update=0.25,
        examples_per_update=256.0,
        of={
            "update": array("d", updates),
            "seconds": array("d", [2.0 * update for update in updates]),
            "loss": array("d", loss),
            "lr": ones,
            "gradient_norm": ones,
            "clipped_share": array("d", [0.5] * len(updates)),
            "weight_distance": ones,
            "evaluation_accuracy_percent": array("d", accuracy or [INF] * len(updates)),
        },
    )


def curve(runs: list[Columns], quantity: Quantity, at_most: int = POINTS_PER_CURVE):
    return next(c for c in group_curves("a group", runs, at_most).curves if c.quantity is quantity)


def test_the_mean_lies_between_the_lowest_and_the_highest_run():
    found = curve([run([10, 20], [3.0, 2.0]), run([10, 20], [1.0, 2.0]), run([10, 20], [5.0, 5.0])], LOSS)
    assert found.update == (10, 20)
    assert found.mean == (3.0, 3.0)
    assert found.low == (1.0, 2.0)
    assert found.high == (5.0, 5.0)
    assert found.seconds == (20.0, 40.0)


def test_only_updates_that_all_runs_share_are_drawn():
    """A mean over two runs here and over one there would jump for no reason."""
    found = curve([run([10, 20, 30], [1.0, 2.0, 3.0]), run([5, 10, 30], [9.0, 3.0, 5.0])], LOSS)
    assert found.update == (10, 30)
    assert found.mean == (2.0, 4.0)


def test_what_is_not_finite_or_not_evaluated_is_not_drawn():
    runs = [
        run([1, 2, 3], [1.0, INF, 3.0], [INF, 50.0, 70.0]),
        run([1, 2, 3], [1.0, 2.0, 3.0], [INF, 60.0, 80.0]),
    ]
    assert curve(runs, LOSS).update == (1, 3)
    assert curve(runs, ACCURACY).update == (2, 3)
    assert curve(runs, ACCURACY).mean == (55.0, 75.0)


def test_runs_that_share_nothing_have_an_empty_curve_and_one_alone_has_no_band():
    assert curve([run([1], [1.0]), run([2], [1.0])], LOSS).update == ()
    alone = curve([run([1, 2], [1.0, 4.0])], LOSS)
    assert alone.low == alone.mean == alone.high == (1.0, 4.0)
    assert curve([run([], [])], LOSS).update == ()


def test_a_group_without_runs_is_an_error():
    with pytest.raises(ValueError, match="no runs"):
        group_curves("empty", [])


def test_a_thinned_band_keeps_the_highest_and_the_lowest_of_any_run():
    """One run alone spikes, at an update where the mean is no extreme."""
    updates = list(range(1, 5001))
    spiking, quiet = [1.0] * 5000, [1.0 + u / 1000 for u in updates]
    spiking[2500], quiet[2500] = 9.0, 0.0
    found = curve([run(updates, spiking), run(updates, quiet)], LOSS, 200)
    assert found.measured == 5000
    assert len(found.update) <= 200
    at = found.update.index(2501)
    assert (found.low[at], found.mean[at], found.high[at]) == (0.0, 4.5, 9.0)


def test_more_groups_have_fewer_points_each_so_that_the_page_stays_small():
    assert points_per_curve(1) == points_per_curve(20) == 1000
    assert points_per_curve(200) == 125
    assert points_per_curve(10**6) == 16


def test_a_chart_is_there_only_where_something_was_measured():
    groups = [group_curves("a", [run([1, 2], [1.0, 2.0])])]
    assert [chart.key for chart in charts_of(groups)] == [
        quantity.key for quantity in (LOSS, GRADIENT_NORM, CLIPPED_SHARE, LEARNING_RATE, WEIGHT_DISTANCE)
    ]
    assert charts_of([group_curves("a", [run([], [])])]) == ()


def test_values_over_decades_get_a_logarithmic_axis_and_those_that_touch_zero_do_not():
    def logarithmic(loss: list[float]) -> bool:
        return charts_of([group_curves("a", [run([1, 2], loss)])])[0].graph.logarithmic_y

    assert logarithmic([1.0, 31.0])
    assert not logarithmic([1.0, 29.0])
    assert not logarithmic([0.0, 31.0])


POINTS = ("x", "second", "y", "low", "high")


def test_the_pages_data_have_five_digits_percent_and_a_band_only_for_several_runs():
    """1/3 has five digits, and a clipped share of 0.5 is 50%."""
    groups = [group_curves("a", [run([1], [1 / 3])]), group_curves("b", [run([1], [1.0]), run([1], [2.0])])]
    data = chart_data(charts_of(groups), groups)
    loss, _, clipped, *_ = data["charts"]
    alone, several = ({key: line[key] for key in line if key in POINTS} for line in loss["lines"])
    assert alone == {"x": (1,), "second": [2.0], "y": [0.33333]}
    assert several == {"x": (1,), "second": [2.0], "y": [1.5], "low": [1.0], "high": [2.0]}
    assert clipped["lines"][0]["y"] == [50.0]
    assert data["groups"][0]["epochs_per_update"] == 0.25
