"""Error and gap against the batch size: what a sweep of ladders says, with numbers worked by hand."""

import statistics
from dataclasses import replace

import pytest

from lbadvisor.comparison.comparison import Open
from lbadvisor.comparison.sweep import sweep_of
from lbadvisor.comparison.sweep_diagnosis import diagnosis_of_sweep

SB = (98.0, 97.0, 96.0)


def at(size, comparison):
    """The ladder, as of another target."""
    return replace(
        comparison, runs=tuple(replace(r, batch_size=32 if r.batch_size == 32 else size) for r in comparison.runs)
    )


@pytest.fixture
def ladder(comparison_of):
    def made(size, lb, ra=(98.1, 97.0, 95.9), **others):
        return at(size, comparison_of(("sb", SB), ("lb", lb), ("ra", ra), **others))

    return made


NONE, SMALL, LARGE = (98.1, 96.9, 96.0), (96.0, 95.2, 93.9), (93.0, 91.7, 91.2)
"""Of the naive large batch: no gap; gaps of 2.0, 1.8 and 2.1 points; of 5.0, 5.3 and 4.8."""


def test_a_point_has_its_error_and_its_gap_with_intervals_over_seeds(ladder):
    """By hand: t(2) = 4.302653; errors 4.0, 4.8, 6.1 have s = 1.0599, gaps s = 0.1528."""
    sweep = sweep_of([ladder(256, SMALL)])
    first, naive, last = sweep.points
    assert (sweep.reference, sweep.naive, sweep.last, sweep.arms) == ("sb", "lb", "ra", ("lb", "ra"))
    assert (first.arm, first.batch_size, first.error_percent, first.gap_points) == ("sb", 32, 3.0, None)
    assert (naive.arm, naive.batch_size, naive.runs, naive.evaluated, naive.pairs) == ("lb", 256, 3, 3, 3)
    assert naive.error_percent == pytest.approx(14.9 / 3)
    half = 4.302653 * statistics.stdev((4.0, 4.8, 6.1)) / 3**0.5
    assert (naive.error_low, naive.error_high) == pytest.approx((14.9 / 3 - half, 14.9 / 3 + half))
    assert naive.gap_points == pytest.approx(5.9 / 3)
    half = 4.302653 * 0.152753 / 3**0.5
    assert (naive.gap_low, naive.gap_high) == pytest.approx((5.9 / 3 - half, 5.9 / 3 + half), abs=1e-5)
    assert not last.shows_a_gap


def test_the_first_arm_stands_in_it_once_and_the_correction_is_for_all_gaps(ladder):
    """Six gaps are tested: Holm multiplies the smallest p by 6, the next by 5."""
    sweep = sweep_of([ladder(64, NONE), ladder(256, SMALL), ladder(1024, LARGE)])
    assert [(p.arm, p.batch_size) for p in sweep.points] == [
        ("sb", 32), ("lb", 64), ("ra", 64), ("lb", 256), ("ra", 256), ("lb", 1024), ("ra", 1024),
    ]  # fmt: skip
    small, large = sweep.points[3], sweep.points[5]
    assert large.p_value < small.p_value < 0.003
    assert large.holm_p_value == pytest.approx(6 * large.p_value)
    assert small.holm_p_value == pytest.approx(5 * small.p_value)


def test_the_conclusion_says_from_which_batch_size_on_there_is_evidence_of_a_gap(ladder):
    sweep = sweep_of([ladder(64, NONE), ladder(256, SMALL), ladder(1024, LARGE)])
    assert diagnosis_of_sweep(sweep).conclusion == (
        "For the naive large batch lb there is evidence of a gap from a batch of 256 on: +1.97 points at 256, "
        "95% +1.59 to +2.35. No gap is shown for ra at any batch size up to 1,024. Evidence is a gap above 0 at 95% "
        "after Holm's correction for the 6 gaps of the sweep."
    )


def test_a_gap_at_the_largest_size_or_at_a_smaller_one_only_is_told_as_it_is(ladder):
    at_the_end = diagnosis_of_sweep(sweep_of([ladder(64, NONE), ladder(256, SMALL)])).conclusion
    assert "lb there is evidence of a gap at 256: +1.97" in at_the_end
    in_the_middle = diagnosis_of_sweep(sweep_of([ladder(64, SMALL), ladder(256, NONE)])).conclusion
    assert "lb there is evidence of a gap at 64 only: +1.97" in in_the_middle


def test_evidence_that_the_correction_takes_is_none(ladder):
    """Gaps of 1.0, 1.3 and 1.8: p = 0.03, which is above 5% once four gaps are tested."""
    sweep = sweep_of([ladder(64, (97.0, 95.7, 94.2)), ladder(256, NONE)])
    naive = sweep.points[1]
    assert naive.gap_low > 0
    assert 0.01 < naive.p_value < 0.05
    assert not naive.shows_a_gap
    said = diagnosis_of_sweep(sweep).conclusion
    assert "No gap is shown for the naive large batch lb at any batch size up to 256 (the largest is +1.37" in said
    assert ", no evidence after the correction)" in said


def test_a_better_large_batch_has_no_gap(ladder):
    sweep = sweep_of([ladder(64, (99.0, 98.1, 97.05)), ladder(256, (99.0, 98.1, 97.05))])
    assert sweep.points[1].gap_high < 0
    assert diagnosis_of_sweep(sweep).conclusion.startswith(
        "No gap is shown for the naive large batch lb at any batch size up to 256. No"
    )


def test_one_seed_and_equal_seeds_have_no_interval_and_say_why(comparison_of):
    one = at(64, comparison_of(("sb", (98.0,)), ("lb", (97.0,))))
    answer = diagnosis_of_sweep(sweep_of([one, at(256, comparison_of(("sb", (98.0,)), ("lb", (95.0,))))]))
    assert "(the largest is +3.00 points at 256, no interval: one seed)" in answer.conclusion
    assert "One seed each: nothing may be concluded" in answer.conclusion
    equal = sweep_of([at(64, comparison_of(("sb", (98.0, 97.0)), ("lb", (97.0, 96.0))))])
    assert equal.points[1].gap_open is Open.NO_SPREAD


def test_diverged_runs_are_counted_and_in_no_mean(comparison_of):
    diverged = at(64, comparison_of(("sb", SB), ("lb", SMALL), diverged=[("lb", 2)]))
    sweep = sweep_of([diverged, at(256, comparison_of(("sb", SB), ("lb", SMALL)))])
    point = sweep.points[1]
    assert (point.runs, point.diverged, point.evaluated) == (3, 1, 2)
    assert point.error_percent == pytest.approx(4.4)
    answer = diagnosis_of_sweep(sweep)
    assert answer.conclusion.endswith("Runs diverged, and are in no mean: lb at 64.")
    assert answer.grids[0].rows[1][-1] == "3, 1 diverged"


def test_the_graphs_have_each_arm_over_the_batch_sizes_with_its_intervals(ladder):
    error, gap = diagnosis_of_sweep(sweep_of([ladder(1024, LARGE), ladder(256, SMALL)])).graphs
    reference, naive, last = error.series
    assert (reference.label, reference.x, reference.y, reference.style) == ("sb", (32, 1024), (3.0, 3.0), "dashed")
    assert (naive.label, naive.x, last.label) == ("lb", (256, 1024), "ra")
    assert naive.y == pytest.approx((14.9 / 3, 24.1 / 3))
    assert naive.low[0] < naive.y[0] < naive.high[0]
    assert [(series.label, series.x) for series in gap.series] == [
        ("sb", (32, 1024)), ("lb", (256, 1024)), ("ra", (256, 1024)),
    ]  # fmt: skip
    assert gap.series[1].y == pytest.approx((5.9 / 3, 15.1 / 3))
    assert error.logarithmic_x
