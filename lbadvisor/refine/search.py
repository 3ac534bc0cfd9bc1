"""The search: trial after trial until there are as many as requested, shared by all processes working on it."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from lbadvisor.errors import OF_EVERY_RUN, InTrainingError, LbadvisorError, as_ours
from lbadvisor.refine.proposal import propose, theories
from lbadvisor.refine.refinement import Measure, Outcome, Trial
from lbadvisor.refine.search_space import Point
from lbadvisor.refine.study import Busy, Claim, SharedStudy

POLL_SECONDS = 0.5

Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class Limits:
    """When a search ends: total trials, and total epochs of its runs (None: unlimited)."""

    trials: int
    epochs_budget: float | None = None


@dataclass(frozen=True, slots=True)
class TrialBegins:
    """A trial starts here, or is resumed if it is `taken_over`; `ended` of `wanted` have ended."""

    number: int
    point: Point
    taken_over: bool
    ended: int
    wanted: int


@dataclass(frozen=True, slots=True)
class TrialEnds:
    """A trial ended here."""

    trial: Trial


@dataclass(frozen=True, slots=True)
class TrialFails:
    """A trial failed here: the search continues, and a later one resumes it."""

    number: int
    error: LbadvisorError


@dataclass(frozen=True, slots=True)
class SearchWaits:
    """Nothing is left to start; waits for `running` trials of other processes, and takes over if those die."""

    running: int


@dataclass(frozen=True, slots=True)
class BudgetSpent:
    """The epochs budget does not allow another trial: `ended` of `wanted` have ended, or will."""

    ended: int
    wanted: int
    spent_epochs: float


def search(
    study: SharedStudy,
    objective: Callable[[Claim], Generator[Event, None, Outcome]],
    limits: Limits,
    *,
    first: Sequence[Point] = (),
    price_epochs: Callable[[Point], float] = lambda _: 0.0,
    measure: Measure = Measure("loss"),  # noqa: B008  # a frozen value
    seed: int = 0,
    since: datetime | None = None,
) -> Generator[Event | TrialBegins | TrialEnds | TrialFails | SearchWaits | BudgetSpent]:
    """Evaluate trials until the study has as many as the limits say; yields what happens, the objective's events too.

    The objective is a function of the claimed point: what it yields is passed on, what it returns ends the trial.
    Closing the iterator, or a kill, leaves the trial to whoever claims it next. The points start with `first`, then the
    theories', then those of `propose`; the search also ends once every point has been tried. A trial that fails is
    left as it is by all searches that began before; this one began at `since`, or begins now.
    """
    since = since or datetime.now(UTC)
    spent_at: list[BudgetSpent] = []

    def choose(ended: Sequence[Trial], running: Sequence[Point]) -> Point | None:
        point = propose(study.space, (*first, *theories(study.space)), ended, running, measure, seed)
        if point is None:
            return None
        spent = sum(trial.outcome.epochs for trial in ended) + sum(map(price_epochs, running))
        # Rounding of the sum must not cost a trial.
        if limits.epochs_budget is not None and spent + price_epochs(point) > limits.epochs_budget * (1 + 1e-9):
            spent_at.append(BudgetSpent(len(ended) + len(running), limits.trials, spent))
            return None
        return point

    while True:
        claimed = study.claim(limits.trials, choose, since)
        match claimed:
            case None:
                if spent_at:
                    yield spent_at[-1]
                return
            case Busy(running=running):
                # Reported each time, so that a stop is noticed.
                yield SearchWaits(running)
                time.sleep(POLL_SECONDS)
            case Claim():
                try:
                    ended = len(study.trials())
                    yield TrialBegins(claimed.number, claimed.point, claimed.taken_over, ended, limits.trials)
                    outcome = yield from objective(claimed)
                    study.tell(claimed, outcome)
                    yield TrialEnds(Trial(claimed.number, claimed.point, outcome))
                except InTrainingError:
                    time.sleep(POLL_SECONDS)  # while the server did not answer, another process took the trial over
                except OF_EVERY_RUN:
                    raise
                except Exception as error:
                    study.fail(claimed)
                    yield TrialFails(claimed.number, as_ours(error))
                finally:
                    claimed.lock.release()
