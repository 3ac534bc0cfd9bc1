"""The search for the smallest stretch, on made-up results: what it asks for, where it ends, and how often it errs."""

import random
from collections import Counter

import pytest
from scipy import stats

from lbadvisor.comparison.stretch_search import (
    Ending,
    StretchQuestion,
    Verdict,
    Wanted,
    parse_margin,
    searched,
    shares_of,
)
from lbadvisor.errors import UsageError

SHARES = shares_of(16)
FIFTH = parse_margin("20%")


class World:
    """Runs that have not been made: the accuracy of each arm and seed, and how many runs were asked for.

    `gaps` are the true ones: of the naive batch, then of each share. An accuracy of None is a run that diverged.
    """

    def __init__(self, naive, *gaps, deviation=0.01, seed=0, diverged=()):
        self.gaps = dict(zip((None, *SHARES), (naive, *gaps), strict=True))
        self.deviation, self.draw, self.diverged = deviation, random.Random(seed), diverged
        self.arms = {"small": {}, "naive": {}} | {share: {} for share in SHARES}
        self.asked = []

    def train(self, wanted):
        self.asked.append(wanted)
        names = ["small", "naive"] + ([] if wanted.share is None else [wanted.share])
        for name in names:
            for seed in range(wanted.seeds):
                if seed not in self.arms[name]:
                    gap = 0.0 if name == "small" else self.gaps[None if name == "naive" else name]
                    value = None if name in self.diverged else 97 - gap + self.draw.gauss(0, self.deviation)
                    self.arms[name][seed] = value

    def look(self, question):
        shares = {share: self.arms[share] for share in SHARES}
        return searched(question, self.arms["small"], self.arms["naive"], shares)

    def searched(self, seeds=3, margin=FIFTH):
        question = StretchQuestion(SHARES, margin, seeds)
        while (found := self.look(question)).wanted is not None:
            self.train(found.wanted)
        return found

    @property
    def runs(self):
        return sum(map(len, self.arms.values()))


def test_the_shares_double_the_stretch_from_the_baselines_epochs_to_the_full_regime():
    assert shares_of(16) == (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
    assert shares_of(2) == (1 / 2, 1)
    assert [share * 10 for share in shares_of(10)] == [1, 1.25, 2.5, 5, 10]


def test_it_goes_up_and_ends_at_the_first_stretch_that_closes_the_gap():
    """Gaps of 2 points at the naive batch, of 1.2 and 0.8 with 1 and 2 times the epochs, of none from 4 times on."""
    world = World(2.0, 1.2, 0.8, 0.0, 0.0, 0.0)
    found = world.searched()
    assert world.asked == [Wanted(None, 3), Wanted(1 / 16, 3), Wanted(1 / 8, 3), Wanted(1 / 4, 3)]
    assert world.runs == 15
    assert found.ending is Ending.FOUND
    assert found.smallest.share == 1 / 4
    assert [one.verdict for one in found.judged] == [
        Verdict.OPEN, Verdict.OPEN, Verdict.CLOSED, Verdict.UNTRAINED, Verdict.UNTRAINED,
    ]  # fmt: skip


def test_the_runs_before_the_answer_cost_less_than_the_answer():
    """At r = 32 the seven answers, none among them, cost 26.1 times the baseline's epochs a seed on average."""
    stretches = [share * 32 for share in shares_of(32)]
    costs = [sum(stretches[: place + 1]) for place in range(len(stretches))]
    assert all(cost < 2 * stretch for cost, stretch in zip(costs, stretches, strict=True))
    assert sum([*costs, costs[-1]]) / 7 == pytest.approx(26.1, abs=0.05)


def test_a_seed_more_is_asked_for_until_the_interval_decides():
    """Of 10 points of gap 1, 3 and 2 remain: 80% are closed, the edge itself; a fourth seed leaves it there."""
    world = World(10.0, 0, 0, 0, 0, 0)
    world.arms["small"] = dict.fromkeys(range(4), 90.0)
    world.arms["naive"] = {0: 80.0, 1: 80.01, 2: 79.99}
    question = StretchQuestion(SHARES, FIFTH, 4)
    world.arms[1 / 16] = {0: 89.0, 1: 87.0, 2: 88.0}
    assert world.look(question).wanted == Wanted(1 / 16, 4)
    world.arms["naive"][3] = 80.0
    world.arms[1 / 16][3] = 88.0
    found = world.look(question)
    assert found.judged[0].verdict is Verdict.UNDECIDED
    assert found.wanted == Wanted(1 / 8, 3)


def test_an_interval_holds_for_all_the_looks_that_are_planned():
    """With five seeds there are three looks, at 3, 4 and 5: each interval is one of 1 - 5%/3."""
    world = World(2.0, 1.0, 0, 0, 0, 0, deviation=0.2)
    world.train(Wanted(1 / 16, 3))
    gap = world.look(StretchQuestion(SHARES, FIFTH, 5)).judged[0].gap
    small, own = ([world.arms[name][seed] for seed in range(3)] for name in ("small", 1 / 16))
    expected = stats.ttest_rel(small, own).confidence_interval(1 - 0.05 / 3)
    assert gap.interval == pytest.approx((expected.low, expected.high))
    alone = world.look(StretchQuestion(SHARES, FIFTH, 3)).judged[0].gap
    expected = stats.ttest_rel(small, own).confidence_interval(0.95)
    assert alone.interval == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("seeds", [3, 6])
def test_a_stretch_at_the_margin_itself_is_decided_either_way_in_a_twentieth_of_searches_at_most(seeds):
    """Of a gap of 2 points 0.4 remain, the edge: with one look as with four."""
    verdicts = Counter()
    for seed in range(300):
        world = World(2.0, 0.4, 0.4, 0.4, 0.4, 0.4, deviation=0.1, seed=seed)
        question = StretchQuestion(SHARES, FIFTH, seeds)
        while (found := world.look(question)).wanted is not None and found.wanted.share in (None, 1 / 16):
            world.train(found.wanted)
        verdicts[found.judged[0].verdict] += 1
    # 5% of 300 are 15, plus three standard deviations of 3.8.
    assert verdicts[Verdict.CLOSED] + verdicts[Verdict.OPEN] <= 26


def test_the_interval_that_decides_is_the_paired_test_of_what_remains_against_the_margin():
    """Fieller's interval of the share leaves out 80% exactly if the t-test of gap - 20% naive gap leaves out 0."""
    decided = Counter()
    for seed in range(200):
        world = World(2.0, 0.2, 0, 0, 0, 0, deviation=0.1, seed=seed)
        world.train(Wanted(1 / 16, 3))
        small, naive, own = (world.arms[name] for name in ("small", "naive", 1 / 16))
        remains = [(small[s] - own[s]) - 0.2 * (small[s] - naive[s]) for s in range(3)]
        closed = stats.ttest_1samp(remains, 0).confidence_interval(0.95).high < 0
        verdict = world.look(StretchQuestion(SHARES, FIFTH, 3)).judged[0].verdict
        assert (verdict is Verdict.CLOSED) == closed
        decided[closed] += 1
    assert min(decided.values()) > 10


def test_without_a_gap_to_close_nothing_longer_is_trained():
    """Not shown with all seeds, the naive batch better, and a naive gap within a margin in points."""
    level = World(0.0, *[0.0] * 5, deviation=0.2, seed=1)
    assert level.searched(seeds=4).ending is Ending.NO_GAP
    assert level.asked == [Wanted(None, 3), Wanted(None, 4)]
    better = World(-1.0, *[0.0] * 5)
    assert better.searched(seeds=4).ending is Ending.NO_GAP
    assert better.asked == [Wanted(None, 3)]
    small = World(0.5, *[0.0] * 5)
    assert small.searched(margin=parse_margin("0.8")).ending is Ending.NO_GAP
    assert small.asked == [Wanted(None, 3)]


def test_if_not_even_the_full_regime_closes_the_gap_that_is_the_answer():
    world = World(2.0, 1.5, 1.4, 1.3, 1.2, 1.0)
    found = world.searched()
    assert (found.ending, found.smallest) == (Ending.NONE_CLOSES, None)
    assert {one.verdict for one in found.judged} == {Verdict.OPEN}
    assert world.runs == 21


def test_with_too_much_noise_every_stretch_is_undecided_and_none_is_said_to_close_the_gap():
    found = World(3.0, *[0.6] * 5, deviation=0.3, seed=3).searched()
    assert found.naive.sign == 1
    assert found.ending is Ending.NONE_CLOSES
    assert {one.verdict for one in found.judged} == {Verdict.UNDECIDED}


def test_a_margin_in_points_judges_the_gap_itself():
    found = World(2.0, 0.3, 0.15, 0.0, 0.0, 0.0).searched(margin=parse_margin("0.2"))
    assert found.smallest.share == 1 / 8
    assert found.judged[0].verdict is Verdict.OPEN


def test_a_stretch_that_diverges_does_not_close_the_gap():
    world = World(2.0, 0.0, 0.0, 0.0, 0.0, 0.0, diverged=[1 / 16])
    found = world.searched()
    assert found.judged[0].verdict is Verdict.DIVERGED
    assert found.smallest.share == 1 / 8


@pytest.mark.parametrize(("name", "ending"), [("small", Ending.BASELINE_DIVERGED), ("naive", Ending.NAIVE_DIVERGED)])
def test_a_baseline_or_naive_batch_that_diverges_ends_the_search(name, ending):
    world = World(2.0, *[0.0] * 5, diverged=[name])
    assert world.searched().ending is ending
    assert world.asked == [Wanted(None, 3)]


def test_what_is_stored_already_is_not_asked_for_again_and_a_longer_stretch_that_fails_is_kept():
    """+RA was trained before, and does not close what a quarter of it does."""
    world = World(2.0, 1.0, 1.0, 0.0, 0.0, 1.0)
    world.train(Wanted(1.0, 3))
    found = world.searched()
    assert world.asked[1:] == [Wanted(1 / 16, 3), Wanted(1 / 8, 3), Wanted(1 / 4, 3)]
    assert found.smallest.share == 1 / 4
    assert found.judged[-1].verdict is Verdict.OPEN


@pytest.mark.parametrize("text", ["", "0", "0%", "100%", "-1", "20 %", "many", "1e3", "nan"])
def test_a_margin_that_means_nothing_is_refused(text):
    with pytest.raises(UsageError, match=r"20% of the naive gap or 0\.2 points"):
        parse_margin(text)


def test_a_margin_says_what_it_is_of():
    assert [str(parse_margin(text)) for text in ("20%", "0.25")] == ["20% of the naive gap", "0.25 points"]
