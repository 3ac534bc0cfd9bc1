"""Claims about the conclusion's sentences: each follows from its interval, which scipy computes here anew."""

import itertools
import re
import statistics
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lbadvisor.comparison.comparison import Comparison, Open

Compare = Callable[..., Comparison]
Group = tuple[str, dict[int, float | None]]


def claims_to_close(said: str, group: str) -> bool:
    return re.search(rf"(?<!What ){group} closes", said) is not None


def test_a_group_that_was_evaluated_is_not_said_to_be_without_an_evaluation(comparison_of: Compare) -> None:
    """Of seed 0, which ra has alone, the large batch is half a point better: no share of that is a share of a gap."""
    gap = comparison_of(("sb", [97.0, 98.0, 99.0]), ("lb", [97.5, 90.0, 90.0]), ("ra", [98.0])).gap
    assert gap.groups[2].closed_open is Open.NO_GAP
    assert "no accuracy" not in gap.conclusion
    assert "What ra closes of it is not known: over the one seed that all three have, lb is not worse than sb." in (
        gap.conclusion
    )
    assert "ra is 1.00 points better than sb (no interval: one seed)." in gap.conclusion


def test_a_group_without_an_accuracy_is_said_to_have_none(comparison_of: Compare) -> None:
    gap = comparison_of(("sb", [97.0, 98.0]), ("lb", [90.0, 90.5]), ("ra", [None, None])).gap
    assert "ra has no accuracy, so what it closes is not known." in gap.conclusion
    diverged = {("ra", 0), ("ra", 1)}
    gap = comparison_of(("sb", [97.0, 98.0]), ("lb", [90.0, 90.5]), ("ra", [10.0, 9.0]), diverged=diverged).gap
    assert "ra diverged, so what it closes is not known." in gap.conclusion
    assert (gap.groups[2].points_open, gap.groups[2].closed_open) == (Open.DIVERGED, Open.DIVERGED)
    assert "Diverged, and in no mean: ra-s0, ra-s1." in gap.conclusion


def test_a_baseline_without_an_accuracy_is_the_one_to_be_named(comparison_of: Compare) -> None:
    gap = comparison_of(("sb", [None]), ("lb", [90.0]), ("ra", [95.0])).gap
    assert gap.conclusion.startswith("No gap is known: sb has no accuracy.")
    assert "ra has no accuracy" not in gap.conclusion
    assert [group.points_open for group in gap.groups] == [Open.NO_ACCURACY, Open.NO_REFERENCE, Open.NO_REFERENCE]
    gap = comparison_of(("sb", [10.0]), ("lb", [90.0]), diverged={("sb", 0)}).gap
    assert gap.conclusion.startswith("No gap is known: sb diverged.")


def test_a_share_on_either_side_of_0_is_not_said_to_be_closed_or_added(comparison_of: Compare) -> None:
    """Gaps 7, 7, 6.5 of which 3, -3, -2.1 are closed: -10%, -134 to 104."""
    gap = comparison_of(("sb", [97.0, 98.0, 99.0]), ("lb", [90.0, 91.0, 92.5]), ("ra", [93.0, 88.0, 90.4])).gap
    assert "What ra closes is not shown: -10% of that gap (95% interval -134 to 104%)." in gap.conclusion
    assert "widens" not in gap.conclusion


def test_a_share_that_is_below_0_is_said_to_widen_the_gap(comparison_of: Compare) -> None:
    """Gaps 7, 7, 7.5 of which -2, -3, -2.5 are closed: -7.5/21.5."""
    gap = comparison_of(("sb", [97.0, 98.0, 99.0]), ("lb", [90.0, 91.0, 91.5]), ("ra", [88.0, 88.0, 89.0])).gap
    assert gap.interval is not None
    assert re.search(r"ra widens that gap by 35% \(95% interval 1\d to 5\d%\)\.", gap.conclusion)


def test_a_share_that_is_not_bounded_is_said_to_be_so(comparison_of: Compare) -> None:
    """Over four seeds the gap is shown; over the two that ra has as well it is 7 and 4, -13.6 to 24.6."""
    gap = comparison_of(("sb", [97.0, 98.0, 99.0, 98.0]), ("lb", [90.0, 94.0, 90.5, 91.0]), ("ra", [96.0, 97.0])).gap
    assert (gap.groups[2].closed_open, gap.seeds) == (Open.NOT_BOUNDED, 2)
    assert (
        "What ra closes is not shown: 82% of the gap of 5.50 points over the 2 seeds that all three have (the share "
        "has no bounded interval, because over these 2 seeds the gap itself may be 0)." in gap.conclusion
    )
    assert not claims_to_close(gap.conclusion, "ra")


def test_equal_differences_have_no_interval_and_the_sentences_say_why(comparison_of: Compare) -> None:
    gap = comparison_of(("sb", [97.0, 98.0]), ("lb", [90.0, 91.0]), ("ra", [96.0, 97.0])).gap
    assert "lb is 7.00 points worse than sb (no interval: no spread between the seeds)" in gap.conclusion
    assert "ra closes 86% of that gap (no interval: no spread between the seeds)" in gap.conclusion
    assert gap.tested == 0


def test_one_seed_of_a_gap_that_is_not_shown_closes_nothing(comparison_of: Compare) -> None:
    """Gaps 1, -4 and 9: 2 -+ 16; of the first, half."""
    gap = comparison_of(("sb", [97.0, 97.0, 97.0]), ("lb", [96.0, 101.0, 88.0]), ("ra", [96.5])).gap
    assert "What ra closes is not shown: 50% of the gap of 1.00 points over the one seed that all three have (no " in (
        gap.conclusion
    )


def test_seeds_that_have_a_gap_by_luck_close_nothing_either(comparison_of: Compare) -> None:
    """Gaps 6, 6.1, -4 and -3: 1.3 -+ 8.9; over the first two, which ra has as well, 5.4 to 6.7, and half is closed."""
    gap = comparison_of(("sb", [97.0] * 4), ("lb", [91.0, 90.9, 101.0, 100.0]), ("ra", [94.0, 93.96])).gap
    assert "No difference between the naive large batch lb and sb is shown" in gap.conclusion
    assert "What ra closes is not shown: 50% of the gap of 6.05 points over the 2 seeds that all three have (no " in (
        gap.conclusion
    )
    assert (gap.interval, gap.groups[2].closed_open) == (None, Open.NO_GAP_SHOWN)


def test_more_than_eight_claims_are_counted_and_not_listed(comparison_of: Compare) -> None:
    """Each group is 3 points below the one before, and next to that hardly spreads: 4 gaps and 3 steps, 6 and 5."""
    names = ("sb", "lb", "lr", "gbn", "ra", "ghost", "clip")
    groups = [(name, [90.0 - 3 * i + j for j in (0.0, 0.01 * i, 0.001 * i * i)]) for i, name in enumerate(names)]
    few, many = comparison_of(*groups[:5]).gap, comparison_of(*groups).gap
    assert (few.tested, many.tested) == (7, 11)
    assert "there is still evidence that lb, lr, gbn and ra are worse than sb, that lr is worse" in few.conclusion
    assert "After Holm's correction for 11 comparisons, 11 of 11 differences keep their evidence." in many.conclusion


LARGE = ("lb", "lr", "gbn", "ra")


@st.composite
def drawn(draw: st.DrawFn) -> tuple[list[Group], set[tuple[str, int]]]:
    """Two to five groups of one to four seeds, some without an accuracy; and those that diverged.

    A group is at its level with a noise of its own, from ties to more than what the groups differ by.
    """
    names = ["sb", *draw(st.permutations(LARGE).map(lambda order: order[: draw(st.integers(1, 4))]))]
    groups: list[Group] = []
    for name in names:
        level, noise = draw(st.sampled_from((90, 92, 95, 97))), draw(st.sampled_from((0.0, 0.1, 1.0, 3.0)))
        runs: dict[int, float | None] = {}
        for seed in range(draw(st.sampled_from((0, 0, 0, 0, 0, 1, 3))), draw(st.sampled_from((1, 2, 3, 3, 3, 4)))):
            runs[seed] = level + noise * draw(st.integers(-2, 2))
        if not runs:
            runs = {draw(st.integers(0, 3)): draw(st.sampled_from((None, level + noise)))}
        groups.append((name, runs))
    members = [(name, seed) for name, by_seed in groups for seed in by_seed]
    return groups, set(draw(st.lists(st.sampled_from(members), max_size=2)))


def paired(one: dict[int, float], other: dict[int, float]) -> list[float]:
    return [one[seed] - other[seed] for seed in one if seed in other]


def oracle(differences: list[float]) -> tuple[float, float, float] | None:
    """p, low and high of scipy's t-test; None for fewer than two, or equal ones."""
    if len(differences) < 2 or statistics.pstdev(differences) < 1e-9:
        return None
    test = stats.ttest_1samp(differences, 0.0)
    return float(test.pvalue), *map(float, test.confidence_interval())


@settings(max_examples=300, deadline=None)
@given(drawn())
def test_no_sentence_contradicts_its_interval(
    comparison_of: Compare, case: tuple[list[Group], set[tuple[str, int]]]
) -> None:
    groups, diverged = case
    comparison = comparison_of(*groups, diverged=diverged)
    gap, said = comparison.gap, comparison.gap.conclusion
    known = {
        name: {seed: a for seed, a in by_seed.items() if a is not None and (name, seed) not in diverged}
        for name, by_seed in groups
    }
    if len(groups) < 2:
        return
    names = [name for name, _ in groups]
    tests = {(name, "sb"): oracle(paired(known["sb"], known[name])) for name in names[1:]}
    steps = [(name, before) for before, name in itertools.pairwise(names[1:])]
    tests |= {pair: oracle(paired(known[pair[0]], known[pair[1]])) for pair in steps}
    tested = sorted((test[0], pair) for pair, test in tests.items() if test is not None)
    assert gap.tested == len(tested)

    # After Holm: rejected, in the order of p, until the first that is not.
    kept: set[tuple[str, str]] = set()
    for place, (p, pair) in enumerate(tested):
        if len(tested) < 2 or p * (len(tested) - place) >= 0.05:
            break
        kept.add(pair)

    for group in gap.groups[1:]:
        test = tests[group.group, "sb"]
        assert group.points_interval == (None if test is None else pytest.approx(test[1:]))
        assert group.gap.holds_after_holm is ((group.group, "sb") in kept)
        worse = re.search(rf"{group.group} is [\d.]+ points worse than sb \(95%", said)
        better = re.search(rf"{group.group} is [\d.]+ points better than sb \(95%", said)
        neither = re.search(rf"No difference between (the naive large batch )?{group.group} and sb is shown", said)
        assert not worse or (test is not None and test[1] > 0)
        assert not better or (test is not None and test[2] < 0)
        assert not neither or (test is not None and test[1] <= 0 <= test[2])
        assert not re.search(rf"{group.group} (has no accuracy|diverged)[.,]", said) or not known[group.group]
    for group, pair in zip(gap.groups[2:], steps, strict=True):
        test = tests[pair]
        assert group.step_interval == (None if test is None else pytest.approx(test[1:]))
        assert group.step.holds_after_holm is (pair in kept)

    after_holm, _, lost = said.partition("there is still evidence ")[2].partition("; the evidence ")
    for group, pair in zip(gap.groups[2:], steps, strict=True):
        assert (f"{pair[0]} is better than {pair[1]}" in after_holm) is (pair in kept and group.step.sign > 0)
    assert "no difference is shown" not in said or not any(test and test[0] < 0.05 for test in tests.values())
    assert not lost or any(test and test[0] < 0.05 and pair not in kept for pair, test in tests.items())

    if gap.naive_group is None:
        assert gap.closed_percent is None
        return
    naive_test = tests["lb", "sb"]
    assert "no gap to close" not in said or (naive_test is not None and naive_test[2] < 0)
    for group in gap.groups[1:]:
        shared = [seed for seed in known["sb"] if seed in known["lb"] and seed in known[group.group]]
        if group.group != "lb" and group.closed_percent is not None:
            assert group.closed_pairs == len(shared)
            whole = [known["sb"][seed] - known["lb"][seed] for seed in shared]
            closed = [known[group.group][seed] - known["lb"][seed] for seed in shared]
            shown = oracle(whole)
            assert (group.closed_open is Open.NOT_BOUNDED) is (shown is not None and shown[1] <= 0 <= shown[2])
            for end in group.closed_interval or ():
                p = stats.ttest_1samp([c - end / 100 * w for c, w in zip(closed, whole, strict=True)], 0.0).pvalue
                assert p == pytest.approx(0.05, abs=1e-6)
        if group.group == gap.closing_group:
            interval = group.closed_interval
            assert not (claims_to_close(said, group.group) and interval) or interval[0] > 0
            assert not (f"{group.group} widens" in said and interval) or interval[1] < 0
            assert not claims_to_close(said, group.group) or group.closed_open is not Open.NOT_BOUNDED
            assert "no bounded interval" not in said or group.closed_open is Open.NOT_BOUNDED
            assert gap.seeds == max(
                1, len(shared) if group.closed_percent is not None else gap.groups[names.index("lb")].pairs
            )
    for metric in comparison.metrics:
        order = [(name, seed) for name, by_seed in groups for seed in by_seed]
        assert all(metric.differences[order.index(run)] is None for run in diverged)
