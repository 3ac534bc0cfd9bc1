"""Claims about the gap over several seeds, each number worked by hand or by scipy."""

from collections.abc import Callable, Sequence

import pytest
from scipy import stats

from lbadvisor.comparison.comparison import Comparison, GroupGap

Compare = Callable[..., Comparison]


def gap_named(comparison: Comparison, group: str) -> GroupGap:
    return next(gap for gap in comparison.gap.groups if gap.group == group)


def test_seeds_are_one_group_with_a_mean_and_a_deviation(comparison_of: Compare) -> None:
    comparison = comparison_of(("sb", [97.0, 98.0, 99.0]), ("lb", [80.0, 82.0, 84.0]))
    assert [(group.label, group.seeds) for group in comparison.groups] == [("sb", (0, 1, 2)), ("lb", (0, 1, 2))]
    accuracy = comparison.groups[0].accuracy
    assert accuracy is not None
    assert (accuracy.n, accuracy.mean, accuracy.std) == (3, 98.0, 1.0)


def test_the_gap_is_the_mean_of_paired_differences_with_the_paired_t_interval(comparison_of: Compare) -> None:
    small, large = [97.1, 98.0, 97.6], [80.2, 74.9, 79.3]
    gap = comparison_of(("sb", small), ("lb", large)).gap
    expected = stats.ttest_rel(small, large).confidence_interval(0.95)
    assert gap.points == pytest.approx((16.9 + 23.1 + 18.3) / 3)
    assert gap.points_interval == pytest.approx((expected.low, expected.high))
    assert (gap.naive_group, gap.seeds) == ("lb", 3)


def test_the_share_closed_is_a_ratio_of_means_with_fiellers_interval(comparison_of: Compare) -> None:
    """Gaps 10, 12, 14; closed 9, 12, 12: 33/36 = 91.7%. At the ends a t-test of closed - q gap has p = 5%."""
    gap = comparison_of(("sb", [95.0, 95.0, 95.0]), ("lb", [85.0, 83.0, 81.0]), ("ra", [94.0, 95.0, 93.0])).gap
    assert gap.closed_percent == pytest.approx(100 * 33 / 36)
    assert gap.interval is not None
    for end in gap.interval:
        residuals = [c - end / 100 * g for c, g in zip([9.0, 12.0, 12.0], [10.0, 12.0, 14.0], strict=True)]
        assert stats.ttest_1samp(residuals, 0.0).pvalue == pytest.approx(0.05)
    assert "ra closes 92% of that gap (95% interval" in gap.conclusion
    assert gap.seeds == 3


def test_of_one_seed_nothing_may_be_concluded(comparison_of: Compare) -> None:
    comparison = comparison_of(("sb", [95.0]), ("lb", [85.0]), ("ra", [94.0]))
    ra = gap_named(comparison, "ra")
    assert (ra.points, ra.points_interval, ra.points_open) == (1.0, None, "one seed")
    assert (ra.closed_percent, ra.closed_interval, ra.closed_open) == (90.0, None, "one seed")
    assert comparison.gap.seeds == 1
    assert "nothing may be concluded" in comparison.gap.conclusion


def test_a_gap_of_zero_with_a_wide_interval_is_not_shown_and_not_denied(comparison_of: Compare) -> None:
    """Gaps -1 and 1: 0 -+ 12.706."""
    gap = comparison_of(("sb", [95.0, 96.0]), ("lb", [96.0, 95.0]), ("ra", [95.0, 95.0])).gap
    assert gap.points == 0
    assert (gap.closed_percent, gap.interval) == (None, None)
    assert "No difference between the naive large batch lb and sb is shown: a gap of +0.00 points" in gap.conclusion
    assert "(95% interval of the gap -12.71 to +12.71, 2 seeds)" in gap.conclusion
    assert "no gap to close" not in gap.conclusion


def test_a_negative_gap_is_a_large_batch_that_is_better(comparison_of: Compare) -> None:
    gap = comparison_of(("sb", [95.0, 95.2, 95.1]), ("lb", [97.0, 97.2, 97.3]), ("ra", [95, 95, 96])).gap
    assert gap.points == pytest.approx(-2.0667, abs=1e-4)
    assert gap.closed_percent is None
    assert "2.07 points better than sb" in gap.conclusion
    assert "There is no gap to close." in gap.conclusion


def test_a_gap_that_may_be_zero_leaves_its_share_open_and_says_so(comparison_of: Compare) -> None:
    """Gaps -2, 2, 6: mean 2, interval 2 -+ 9.9."""
    comparison = comparison_of(("sb", [95.0] * 3), ("lb", [97.0, 93.0, 89.0]), ("ra", [95.0, 94.0, 95.5]))
    ra = gap_named(comparison, "ra")
    assert ra.closed_interval is None
    assert ra.closed_open == "not bounded"
    assert (
        "What ra closes is not shown: 92% of that gap (the share has no bounded interval, because over these 3 seeds "
        "the gap itself may be 0)." in comparison.gap.conclusion
    )


def test_differences_inside_their_interval_are_said_to_show_nothing(comparison_of: Compare) -> None:
    comparison = comparison_of(("sb", [95.0, 96.0, 95.5]), ("lb", [80.0, 81, 82]), ("ra", [95.5, 95, 95.8]))
    assert "No difference between ra and sb is shown: a gap of +0.07 points" in comparison.gap.conclusion


def test_only_seeds_that_both_have_are_pairs(comparison_of: Compare) -> None:
    comparison = comparison_of(("sb", [95.0, 96.0, 97.0]), ("lb", [85.0, 87.0, 86.0]), ("ra", {1: 95.0}))
    ra = gap_named(comparison, "ra")
    assert (ra.points, ra.pairs, ra.points_open) == (1.0, 1, "one seed")
    assert ra.closed_percent == pytest.approx(100 * 8 / 9)
    assert any("groups of one seed (ra) beside groups of several" in note for note in comparison.notes)
    assert "ra: no two seeds in common with sb, so nothing may be concluded about the gap" in comparison.gap.conclusion
    assert ra.closed_of_points == 9.0
    assert (
        "ra closes 89% of the gap of 9.00 points over the one seed that all three have (no interval: one seed)"
        in comparison.gap.conclusion
    )


def test_without_a_common_seed_the_means_are_compared_and_no_interval_is_named(comparison_of: Compare) -> None:
    comparison = comparison_of(("sb", {0: 95.0, 1: 97.0}), ("lb", {2: 86.0, 3: 84.0}))
    lb = gap_named(comparison, "lb")
    assert (lb.points, lb.points_interval, lb.points_open) == (11.0, None, "no seed in common")
    assert "lb: no two seeds in common with sb" in comparison.gap.conclusion


def test_a_run_that_diverged_is_in_no_mean_and_is_named(comparison_of: Compare) -> None:
    comparison = comparison_of(("sb", [95.0, 95.5]), ("lb", [85.0, 12.0]), diverged={("lb", 1)})
    accuracy = comparison.groups[1].accuracy
    assert accuracy is not None
    assert (accuracy.n, accuracy.mean) == (1, 85.0)
    assert "Diverged, and in no mean: lb-s1." in comparison.gap.conclusion


def test_the_whole_method_is_asked_what_it_closes_wherever_it_stands(comparison_of: Compare) -> None:
    gap = comparison_of(("sb", [95.0, 95.2]), ("lb", [85.0, 84.0]), ("ra", [94.0, 95.0]), ("lr", [90.0, 91.0])).gap
    assert (gap.naive_group, gap.closing_group) == ("lb", "ra")
    assert gap.closed_percent == gap_named_in(gap.groups, "ra").closed_percent


def gap_named_in(groups: Sequence[GroupGap], group: str) -> GroupGap:
    return next(gap for gap in groups if gap.group == group)


def test_a_difference_is_to_the_first_groups_run_of_the_same_seed(comparison_of: Compare) -> None:
    comparison = comparison_of(("sb", [95.0, 97.0]), ("lb", {0: 85.0, 1: 88.0, 2: 86.0}))
    accuracy = comparison.metrics[0]
    assert accuracy.name == "final_accuracy_percent"
    assert accuracy.differences == (0.0, 0.0, -10.0, -9.0, 86.0 - 96.0)


def test_a_run_that_diverged_is_in_no_difference_of_any_metric(comparison_of: Compare) -> None:
    """The baseline of seed 1 diverged at 10%: lb's run of that seed is held against the others' mean, 96."""
    diverged = {("sb", 1), ("lb", 2)}
    comparison = comparison_of(("sb", [95.0, 10.0, 97.0]), ("lb", [85.0, 90.0, 12.0]), diverged=diverged)
    assert comparison.metrics[0].differences == (0.0, None, 0.0, -10.0, -6.0, None)
    for metric in comparison.metrics:
        assert [metric.differences[place] for place in (1, 5)] == [None, None], metric.name


def test_a_baseline_that_diverged_leaves_every_difference_open(comparison_of: Compare) -> None:
    comparison = comparison_of(("sb", [10.0]), ("lb", [90.0]), diverged={("sb", 0)})
    assert comparison.metrics[0].values == (10.0, 90.0)
    assert comparison.metrics[0].differences == (None, None)


def test_the_seeds_of_a_share_are_those_that_all_three_groups_have(comparison_of: Compare) -> None:
    """Ra shares 0 to 3 with sb, and 0 and 1 with lb as well."""
    gap = comparison_of(("sb", [97.0, 98.0, 97.5, 98.5]), ("lb", [90.0, 91.1]), ("ra", [96.0, 97.5, 97.0, 98.0])).gap
    assert (gap_named_in(gap.groups, "ra").pairs, gap_named_in(gap.groups, "ra").closed_pairs) == (4, 2)
    assert gap.interval is not None
    assert gap.seeds == 2


LADDER = (
    ("sb", [98.0, 97.8, 97.0]),
    ("lb", [79.8, 74.4, 70.6]),
    ("lr", [94.2, 91.4, 90.6]),
    ("gbn", [94.4, 94.0, 93.6]),
    ("ra", [98.6, 99.0, 98.8]),
)
"""The accuracies of the README's ladder."""


def test_each_step_is_the_accuracy_gained_on_the_group_before(comparison_of: Compare) -> None:
    """From +LR's 76% to +GBN's 84%: 0.2, 2.6 and 3.0 points, mean 1.9333, deviation 1.5144, -+ 4.30265 s / sqrt(3)."""
    sb, lb, lr, gbn, ra = comparison_of(*LADDER).gap.groups
    assert [lr.closed_percent, gbn.closed_percent] == pytest.approx([75.588, 84.118], abs=1e-3)
    assert gbn.step_points == pytest.approx(1.9333, abs=1e-4)
    assert gbn.step_interval == pytest.approx((1.9333 - 3.7619, 1.9333 + 3.7619), abs=1e-3)
    for before, group in (("lb", lr), ("lr", gbn), ("gbn", ra)):
        test = stats.ttest_rel(dict(LADDER)[group.group], dict(LADDER)[before])
        assert group.step_interval == pytest.approx(tuple(test.confidence_interval()))
        assert (group.step_p_value, group.step_pairs) == (pytest.approx(test.pvalue), 3)
    assert (sb.step_points, lb.step_points, lb.step_open) == (None, None, None)


def test_holms_correction_is_for_all_differences_that_the_table_states(comparison_of: Compare) -> None:
    """Four gaps and three steps. Sorted, p is .0010 .0040 .0088 .0110 .0237 .0742 .1576, times 7, 6, 5, 4, 3, 2, 1."""
    gap = comparison_of(*LADDER).gap
    _, lb, lr, gbn, ra = gap.groups
    assert gap.tested == 7
    assert [one.holm_p_value for one in (lb, lr, gbn, ra)] == pytest.approx([0.0440, 0.0710, 0.0072, 0.1484], abs=1e-4)
    steps = [one.step_holm_p_value for one in (lr, gbn, ra)]
    assert steps == pytest.approx([0.0440, 0.1576, 0.0242], abs=1e-4)
    assert [one.gap.holds_after_holm for one in (lb, lr, gbn, ra)] == [True, False, True, False]
    assert gap.conclusion.endswith(
        "After Holm's correction for 7 comparisons, there is still evidence that lb and gbn are worse than sb, that lr "
        "is better than lb and that ra is better than gbn; the evidence that lr is worse than sb is lost."
    )


def test_one_difference_needs_no_correction(comparison_of: Compare) -> None:
    gap = comparison_of(*LADDER[:2]).gap
    assert gap.tested == 1
    assert gap.groups[1].p_value == pytest.approx(stats.ttest_rel(LADDER[0][1], LADDER[1][1]).pvalue)
    assert gap.groups[1].holm_p_value is None
    assert "Holm" not in gap.conclusion
