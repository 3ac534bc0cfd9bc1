"""The search for the smallest stretch that closes the gap: a pure function of the runs so far.

It goes up from the baseline's epochs, doubling the stretch, and ends at the first that closes the gap. A run costs in
proportion to its stretch, so all that come before the answer cost less than the answer alone. At a batch ratio of 32,
over seven equally likely answers, a seed costs 26 times the baseline's examples; with a bisection it is 29, and that
would have to assume that a longer training never closes less.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from lbadvisor.comparison.comparison import Estimate
from lbadvisor.comparison.gap import NOTHING, Accuracies, difference, share_closed
from lbadvisor.errors import UsageError

Outcomes = Mapping[int, float | None]
"""Final accuracies in percent of one arm's runs, by seed; None if it diverged."""

FIRST_LOOK = 3
"""Seeds before the first look: two decide only what is 12.7 standard errors away, by Student's t, and every further
look widens all intervals."""


@dataclass(frozen=True, slots=True)
class Margin:
    """How much of the gap may remain if it counts as closed: points of error, or percent of the naive gap."""

    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.value:g}% of the naive gap" if self.unit == "%" else f"{self.value:g} points"


def parse_margin(text: str) -> Margin:
    """`20%` of the naive gap, or `0.2` points. Raises `UsageError`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", text.strip())
    if found is None or not 0 < float(found[1]) < 100:
        raise UsageError(
            f"--margin {text[:40]}: give what may remain of the gap: 20% of the naive gap or 0.2 points, for example"
        )
    return Margin(float(found[1]), found[2] or "points")


@dataclass(frozen=True, slots=True)
class StretchQuestion:
    """Which of the `shares` of the full regime's stretch, ascending, is the first to close the gap.

    `most_seeds` is the most that an arm gets; the gap is closed if no more than the margin remains.
    """

    shares: tuple[float, ...]
    margin: Margin
    most_seeds: int

    @property
    def first_look(self) -> int:
        """The number of seeds at the first look at a stretch."""
        return min(FIRST_LOOK, self.most_seeds)

    @property
    def looks(self) -> int:
        """How often a stretch may be looked at, a seed more each time."""
        return self.most_seeds - self.first_look + 1


def shares_of(batch_ratio: float) -> tuple[float, ...]:
    """Shares of the full regime's stretch r, ascending: 1/r, which keeps the epochs, ..., 1/4, 1/2, 1."""
    shares = [1.0]
    while shares[0] / 2 * batch_ratio > 1:
        shares.insert(0, shares[0] / 2)
    return (1 / batch_ratio, *shares)


class Verdict(StrEnum):
    """Whether a stretch closes the gap."""

    CLOSED = "closes it"
    OPEN = "does not"
    DIVERGED = "diverged"
    UNDECIDED = "undecided"
    UNTRAINED = "not trained"

    @property
    def is_failure(self) -> bool:
        """Whether it is shown not to close it."""
        return self in (Verdict.OPEN, Verdict.DIVERGED)


class Ending(StrEnum):
    """How a search ended."""

    FOUND = "a stretch closes the gap"
    NONE_CLOSES = "no stretch is shown to close the gap"
    NO_GAP = "no gap is shown"
    BASELINE_DIVERGED = "the baseline diverged"
    NAIVE_DIVERGED = "the naive large batch diverged"


@dataclass(frozen=True, slots=True)
class Judged:
    """A share of the full regime's stretch: its gap, what it closes of the naive one in percent, and the verdict."""

    share: float
    seeds: int
    gap: Estimate
    closed: Estimate
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Wanted:
    """Runs that the search needs next: so many seeds of the baseline, of the naive batch, and of a share, if any."""

    share: float | None
    seeds: int


@dataclass(frozen=True, slots=True)
class StretchSearch:
    """How far the search is: the naive gap, every share, and either the runs `wanted` next or how it ended.

    Intervals are of 95%, all that a share may be looked at together.
    """

    naive: Estimate
    judged: tuple[Judged, ...]
    wanted: Wanted | None
    ending: Ending | None

    @property
    def smallest(self) -> Judged | None:
        """The smallest share that closes the gap, once it is found."""
        found = (one for one in self.judged if one.verdict is Verdict.CLOSED)
        return next(found, None) if self.ending is Ending.FOUND else None


def searched(
    question: StretchQuestion, small: Outcomes, naive: Outcomes, shares: Mapping[float, Outcomes]
) -> StretchSearch:
    """What the runs of the baseline, of the naive large batch, and of each share so far say, and what comes next."""
    looks, both = question.looks, _seeds_of(small, naive)
    gap = difference(_known(naive), _known(small), sign=-1, looks=looks)
    judged = tuple(_judged(question, share, small, naive, shares.get(share, {})) for share in question.shares)

    def state(wanted: Wanted | None, ending: Ending | None = None) -> StretchSearch:
        return StretchSearch(gap, judged, wanted, ending)

    if None in small.values():
        return state(None, Ending.BASELINE_DIVERGED)
    if None in naive.values():
        return state(None, Ending.NAIVE_DIVERGED)
    if both < question.first_look:
        return state(Wanted(None, question.first_look))
    if gap.sign < 0 or _verdict(question.margin, gap, NOTHING) is Verdict.CLOSED:
        return state(None, Ending.NO_GAP)
    if gap.sign == 0:
        more = both < question.most_seeds
        return state(Wanted(None, both + 1)) if more else state(None, Ending.NO_GAP)
    for one in judged:
        if one.verdict is Verdict.CLOSED:
            return state(None, Ending.FOUND)
        if one.verdict in (Verdict.UNTRAINED, Verdict.UNDECIDED) and one.seeds < question.most_seeds:
            return state(Wanted(one.share, max(question.first_look, one.seeds + 1)))
    return state(None, Ending.NONE_CLOSES)


def _judged(question: StretchQuestion, share: float, small: Outcomes, naive: Outcomes, own: Outcomes) -> Judged:
    """The share by the seeds that all three have."""
    ours, looks = _known(own), question.looks
    gap = difference(ours, _known(small), sign=-1, looks=looks)
    whole = difference(_known(naive), _known(small), sign=-1, looks=looks)
    closed, _ = share_closed(_known(small), _known(naive), ours, whole, looks)
    seeds = _seeds_of(small, naive, own)
    verdict = Verdict.UNTRAINED
    if None in own.values():
        verdict = Verdict.DIVERGED
    elif own:
        verdict = _verdict(question.margin, gap, closed) if seeds >= question.first_look else Verdict.UNDECIDED
    return Judged(share, seeds, gap, closed, verdict)


def _verdict(margin: Margin, gap: Estimate, closed: Estimate) -> Verdict:
    """Closed if the whole interval lies within the margin, not closed if it lies beyond it.

    With a margin of 20% of the naive gap: of what is closed, above or below 80%. That is the paired t-test of what
    remains of the gap against 20% of the naive one.
    """
    if margin.unit == "%":
        low, high = (100 - end for end in reversed(closed.interval or (-float("inf"), float("inf"))))
    else:
        low, high = gap.interval or (-float("inf"), float("inf"))
    if high < margin.value:
        return Verdict.CLOSED
    return Verdict.OPEN if low > margin.value else Verdict.UNDECIDED


def _known(outcomes: Outcomes) -> Accuracies:
    return {seed: accuracy for seed, accuracy in outcomes.items() if accuracy is not None}


def _seeds_of(*arms: Outcomes) -> int:
    """How many seeds, from 0 on, all the arms have."""
    seed = 0
    while all(seed in arm for arm in arms):
        seed += 1
    return seed
