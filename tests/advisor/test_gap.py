"""Claims about the gap over several seeds, each number worked by hand or by scipy."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from scipy import stats

from lbadvisor.advisor.compare import compare_runs
from lbadvisor.advisor.comparison import Comparison, GroupGap, RunResult
from lbadvisor.advisor.parts import Part
from lbadvisor.advisor.recipe import AdaptedFrom, Batch, Data, Model, Recipe, Schedule, Sgd
from lbadvisor.advisor.records import Environment, Measurement, Run, RunStatus
from lbadvisor.advisor.results import result_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CPU = Environment("cpu", "a processor", "0.1.0", "3.11.0", "2.15.0", None, None)


def a_recipe(batch: int, parts: tuple[Part, ...] | None) -> Recipe:
    adapted = None
    if parts is not None:
        adapted = AdaptedFrom(
            recipe="small", recipe_hash="0" * 64, batch_size=32, parts=parts, lr_rule="sqrt", program="lbadvisor"
        )
    return Recipe(
        schema=1,
        name="small",
        data=Data(name="digits", train_examples=1024),
        model=Model(name="digits_mlp"),
        batch=Batch(size=batch),
        optimizer=Sgd(name="sgd", lr=0.05),
        schedule=Schedule(updates=20),
        adapted_from=adapted,
    )


SB, LB, RA = a_recipe(32, None), a_recipe(512, ()), a_recipe(512, ("lr", "regime"))


def results(name: str, recipe: Recipe, accuracies: dict[int, float | None], first: int) -> list[RunResult]:
    """A complete run for each seed, with the one accuracy that it ended with."""
    made = []
    for number, (seed, accuracy) in enumerate(accuracies.items(), first):
        run = Run(
            number, f"{name}-s{seed}", recipe, None, seed, RunStatus.COMPLETE, None, 20, 20, CPU, NOON, NOON, 0
        )  # fmt: skip
        measured = [Measurement(20, 1.0, 640, 0.5, 0.05, 1.0, 0.0, 1.0, None if accuracy is None else 0.1, accuracy, 1)]
        made.append(result_of(run, measured))
    return made


def comparison_of(*groups: tuple[str, Recipe, Sequence[float] | dict[int, float | None]]) -> Comparison:
    found: list[RunResult] = []
    for name, recipe, accuracies in groups:
        by_seed = accuracies if isinstance(accuracies, dict) else dict(enumerate(accuracies))
        found += results(name, recipe, by_seed, 1 + len(found))
    return compare_runs(found)


def gap_named(comparison: Comparison, group: str) -> GroupGap:
    return next(gap for gap in comparison.gap.groups if gap.group == group)


def test_seeds_are_one_group_named_without_its_seed() -> None:
    comparison = comparison_of(("sb", SB, [97.0, 98.0, 99.0]), ("lb", LB, [80.0, 82.0, 84.0]))
    assert [(group.label, group.seeds) for group in comparison.groups] == [("sb", (0, 1, 2)), ("lb", (0, 1, 2))]
    accuracy = comparison.groups[0].accuracy
    assert accuracy is not None
    assert (accuracy.n, accuracy.mean, accuracy.std) == (3, 98.0, 1.0)


def test_a_second_run_of_one_recipe_and_seed_is_a_group_of_its_own() -> None:
    twice = results("a", SB, {0: 97.0}, 1) + results("b", SB, {0: 98.0}, 2)
    assert [group.label for group in compare_runs(twice).groups] == ["a-s0", "b-s0"]


def test_the_gap_is_the_mean_of_paired_differences_with_the_paired_t_interval() -> None:
    small, large = [97.1, 98.0, 97.6], [80.2, 74.9, 79.3]
    gap = comparison_of(("sb", SB, small), ("lb", LB, large)).gap
    expected = stats.ttest_rel(small, large).confidence_interval(0.95)
    assert gap.points == pytest.approx((16.9 + 23.1 + 18.3) / 3)
    assert gap.points_interval == pytest.approx((expected.low, expected.high))
    assert (gap.naive_group, gap.seeds) == ("lb", 3)


def test_the_share_closed_is_a_ratio_of_means_with_fiellers_interval() -> None:
    """Gaps 10, 12, 14; closed 9, 12, 12: 33/36 = 91.7%. At the ends a t-test of closed - q gap has p = 5%."""
    gap = comparison_of(
        ("sb", SB, [95.0, 95.0, 95.0]), ("lb", LB, [85.0, 83.0, 81.0]), ("ra", RA, [94.0, 95.0, 93.0])
    ).gap
    assert gap.closed_percent == pytest.approx(100 * 33 / 36)
    assert gap.interval is not None
    for end in gap.interval:
        residuals = [c - end / 100 * g for c, g in zip([9.0, 12.0, 12.0], [10.0, 12.0, 14.0], strict=True)]
        assert stats.ttest_1samp(residuals, 0.0).pvalue == pytest.approx(0.05)
    assert "ra closes 92% of that gap (95% interval" in gap.conclusion
    assert gap.seeds == 3


def test_of_one_seed_nothing_may_be_concluded() -> None:
    comparison = comparison_of(("sb", SB, [95.0]), ("lb", LB, [85.0]), ("ra", RA, [94.0]))
    ra = gap_named(comparison, "ra-s0")
    assert (ra.points, ra.points_interval, ra.points_open) == (1.0, None, "one seed")
    assert (ra.closed_percent, ra.closed_interval, ra.closed_open) == (90.0, None, "one seed")
    assert comparison.gap.seeds == 1
    assert "nothing may be concluded" in comparison.gap.conclusion


def test_a_zero_gap_is_none_to_close() -> None:
    gap = comparison_of(("sb", SB, [95.0, 96.0]), ("lb", LB, [96.0, 95.0]), ("ra", RA, [95.0, 95.0])).gap
    assert gap.points == 0
    assert (gap.closed_percent, gap.interval) == (None, None)
    assert "level with sb" in gap.conclusion
    assert "There is no gap to close." in gap.conclusion


def test_a_negative_gap_is_a_large_batch_that_is_better() -> None:
    gap = comparison_of(("sb", SB, [95.0, 95.2, 95.1]), ("lb", LB, [97.0, 97.2, 97.3]), ("ra", RA, [95, 95, 96])).gap
    assert gap.points == pytest.approx(-2.0667, abs=1e-4)
    assert gap.closed_percent is None
    assert "2.07 points better than sb" in gap.conclusion


def test_a_gap_that_may_be_zero_leaves_its_share_open_and_says_so() -> None:
    """Gaps -2, 2, 6: mean 2, interval 2 -+ 9.9."""
    comparison = comparison_of(("sb", SB, [95.0] * 3), ("lb", LB, [97.0, 93.0, 89.0]), ("ra", RA, [95.0, 94.0, 95.5]))
    ra = gap_named(comparison, "ra")
    assert ra.closed_interval is None
    assert ra.closed_open == "not bounded"
    assert "whether there is one to close is not shown" in comparison.gap.conclusion


def test_differences_inside_their_interval_are_said_to_show_nothing() -> None:
    comparison = comparison_of(("sb", SB, [95.0, 96.0, 95.5]), ("lb", LB, [80.0, 81, 82]), ("ra", RA, [95.5, 95, 95.8]))
    assert "no difference is shown" in comparison.gap.conclusion


def test_only_seeds_that_both_have_are_pairs() -> None:
    comparison = comparison_of(("sb", SB, [95.0, 96.0, 97.0]), ("lb", LB, [85.0, 87.0, 86.0]), ("ra", RA, {1: 95.0}))
    ra = gap_named(comparison, "ra-s1")
    assert (ra.points, ra.pairs, ra.points_open) == (1.0, 1, "one seed")
    assert ra.closed_percent == pytest.approx(100 * 8 / 9)
    assert any("groups of one seed (ra-s1) beside groups of several" in note for note in comparison.notes)
    assert "ra-s1: no two seeds in common with sb, so nothing may be concluded there" in comparison.gap.conclusion
    assert ra.closed_of_points == 9.0
    assert (
        "ra-s1 closes 89% of the gap of 9.00 points between the runs it shares seeds with" in comparison.gap.conclusion
    )


def test_without_a_common_seed_the_means_are_compared_and_no_interval_is_named() -> None:
    comparison = comparison_of(("sb", SB, {0: 95.0, 1: 97.0}), ("lb", LB, {2: 86.0, 3: 84.0}))
    lb = gap_named(comparison, "lb")
    assert (lb.points, lb.points_interval, lb.points_open) == (11.0, None, "no seed in common")
    assert "lb: no two seeds in common with sb" in comparison.gap.conclusion


def test_a_run_that_diverged_is_in_no_mean_and_is_named() -> None:
    found = results("sb", SB, {0: 95.0, 1: 95.5}, 1) + results("lb", LB, {0: 85.0, 1: 12.0}, 3)
    found[3] = replace(found[3], run=replace(found[3].run, status=RunStatus.DIVERGED))
    comparison = compare_runs(found)
    accuracy = comparison.groups[1].accuracy
    assert accuracy is not None
    assert (accuracy.n, accuracy.mean) == (1, 85.0)
    assert "Diverged, and in no mean: lb-s1." in comparison.gap.conclusion


def test_the_arms_of_a_ladder_name_their_groups() -> None:
    found = results("x", SB, {0: 95.0}, 1) + results("y", LB, {0: 85.0}, 2)
    comparison = compare_runs(found, labels=((1, "SB"), (2, "LB")))
    assert [group.label for group in comparison.groups] == ["SB", "LB"]
    assert comparison.gap.naive_group == "LB"


def test_the_whole_method_is_asked_what_it_closes_wherever_it_stands() -> None:
    half = a_recipe(512, ("lr",))
    gap = comparison_of(
        ("sb", SB, [95.0, 95.2]), ("lb", LB, [85.0, 84.0]), ("ra", RA, [94.0, 95.0]), ("half", half, [90.0, 91.0])
    ).gap
    assert (gap.naive_group, gap.closing_group) == ("lb", "ra")
    assert gap.closed_percent == gap_named_in(gap.groups, "ra").closed_percent


def gap_named_in(groups: Sequence[GroupGap], group: str) -> GroupGap:
    return next(gap for gap in groups if gap.group == group)


def test_a_difference_is_to_the_first_groups_run_of_the_same_seed() -> None:
    comparison = comparison_of(("sb", SB, [95.0, 97.0]), ("lb", LB, {0: 85.0, 1: 88.0, 2: 86.0}))
    accuracy = comparison.metrics[0]
    assert accuracy.name == "final_accuracy_percent"
    assert accuracy.differences == (0.0, 0.0, -10.0, -9.0, 86.0 - 96.0)
