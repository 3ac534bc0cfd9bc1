"""Trains what the search for the smallest stretch asks for: runs of one ladder, whose arms join as it proceeds."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from lbadvisor.comparison.comparison import RunResult
from lbadvisor.comparison.results import accuracy_of, value_of
from lbadvisor.comparison.stretch_search import Margin, StretchQuestion, StretchSearch, Wanted, searched, shares_of
from lbadvisor.diagnostics.noise.noise_estimate import stored_noise_scale
from lbadvisor.diagnostics.stretch.stretch_answer import ArmCost, StretchAnswer, StretchOf, stretch_answer
from lbadvisor.planning.arms import ARMS, regime_arm
from lbadvisor.planning.planned_arms import LadderRequest, PlannedArm, planned
from lbadvisor.planning.request import Request
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import epochs_of, in_updates, measuring
from lbadvisor.records.quantities import GRADIENT_VARIANCE, SECONDS
from lbadvisor.records.run import RunStatus
from lbadvisor.runs.ladder import RunEnds, RunEvents, train_ladder
from lbadvisor.runs.ladder_runs import planned_runs
from lbadvisor.runs.workspace import Workspace
from lbadvisor.store import Store


@dataclass(frozen=True, slots=True)
class StretchRequest:
    """What to search, and the `ladder` of all the runs that it may ask for.

    The ladder's arms are the baseline, the naive large batch, and one for each of the question's shares, in its order.
    """

    question: StretchQuestion
    ladder: LadderRequest


def stretch_request(name: str, baseline: Recipe, asked: Request, margin: Margin, seeds: int) -> StretchRequest:
    """The search over the stretches from `baseline` to the target of `asked`. Raises like `planned`.

    The baseline's runs read the gradient's noise as well, which changes no result.
    """
    shares = shares_of(asked.target_batch_size / baseline.batch.size)
    # The first share keeps the epochs: that is +GBN.
    arms = (ARMS["lb"], ARMS["gbn"], *map(regime_arm, shares[1:]))
    read = measuring(baseline, tuple(dict.fromkeys((*baseline.measurements.also, "noise"))))
    whole = planned(ARMS["sb"], read, asked, seeds), *(planned(arm, baseline, asked, seeds) for arm in arms)
    question = StretchQuestion(shares, margin, seeds)
    return StretchRequest(question, LadderRequest(name, baseline, asked.target_batch_size, whole))


def train_stretch(workspace: Workspace, request: StretchRequest) -> RunEvents:
    """Train what the search lacks, until it ends; yields after every update, like `train_ladder`.

    What comes next follows from the stored results alone, so the same request resumes a search, and several processes
    may share one. All results that are stored already, whichever ladder they are of, join the ladder first.
    """
    store, whole = workspace.store, request.ladder
    told = set()
    for one in planned_runs(store, whole):
        if one.run is not None and one.is_done:
            if not one.is_member:
                ladder = store.add_ladder(whole.name, in_updates(whole.baseline), whole.target_batch_size)
                store.add_to_ladder(ladder.number, one.arm.arm.name, one.run.number)
            told.add((one.arm.arm.name, one.seed))
            yield RunEnds(one, one.run, was_there=True)
    wanted = None
    while (wanted := _more(store, request, wanted)) is not None:
        with closing(train_ladder(workspace, _next_runs(request, wanted))) as events:
            for event in events:
                if isinstance(event, RunEnds):
                    run = event.planned.arm.arm.name, event.planned.seed
                    if run in told:
                        continue
                    told.add(run)
                yield event


def _more(store: Store, request: StretchRequest, trained: Wanted | None) -> Wanted | None:
    """What the search wants; None if it has ended, or if that is what was `trained`: some of it has failed."""
    wanted = search_of(store, request).wanted
    return None if wanted == trained else wanted


def _next_runs(request: StretchRequest, wanted: Wanted) -> LadderRequest:
    small, naive, *arms = request.ladder.arms
    own = [] if wanted.share is None else [arms[request.question.shares.index(wanted.share)]]
    return replace(request.ladder, arms=tuple(replace(arm, seeds=wanted.seeds) for arm in (small, naive, *own)))


def search_of(store: Store, request: StretchRequest) -> StretchSearch:
    """How far the search is by what is stored."""
    return _searched(request, _results(store, request))


def answer_of(store: Store, request: StretchRequest) -> StretchAnswer:
    """The answer of a search that has ended, with its times and what the baseline's noise scale predicted."""
    results = _results(store, request)
    runs = [result.run for arm in results for result in arm]
    of = StretchOf(
        ladder=request.ladder.name,
        baseline=request.ladder.baseline.name,
        batch_size=request.ladder.baseline.batch.size,
        target_batch_size=request.ladder.target_batch_size,
        devices=tuple(dict.fromkeys(run.environment.device_name for run in runs)),
    )
    small, _, *costs = (_cost(arm, own) for arm, own in zip(request.ladder.arms, results, strict=True))
    read = [one.run for one in results[0] if store.readings(one.run.number, GRADIENT_VARIANCE)]
    scale = stored_noise_scale(store, read) if read else None
    return stretch_answer(of, request.question, _searched(request, results), small, costs, scale)


ArmResults = Sequence[RunResult]
"""The results of one arm's runs."""


def _results(store: Store, request: StretchRequest) -> tuple[ArmResults, ...]:
    """Of each of the ladder's arms, in their order."""
    done = [(one.arm.arm.name, one.run) for one in planned_runs(store, request.ladder) if one.is_done and one.run]
    results = store.results_of([run.number for _, run in done])
    return tuple(
        [result for (name, _), result in zip(done, results, strict=True) if name == arm.arm.name]
        for arm in request.ladder.arms
    )


def _searched(request: StretchRequest, results: Sequence[ArmResults]) -> StretchSearch:
    small, naive, *arms = ({result.run.seed: accuracy_of(result) for result in own} for own in results)
    return searched(request.question, small, naive, dict(zip(request.question.shares, arms, strict=True)))


def _cost(arm: PlannedArm, results: ArmResults) -> ArmCost:
    epochs = epochs_of(arm.updates, arm.recipe.data.train_examples, arm.recipe.batch.size)
    seconds = (value_of(SECONDS, one.last) for one in results if one.run.status is RunStatus.COMPLETE)
    return ArmCost(arm.arm.name, arm.updates, epochs, tuple(one for one in seconds if one is not None))
