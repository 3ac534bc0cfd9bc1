"""A trial: its point's recipe, trained with each seed and judged on the validation examples."""

import math
from collections.abc import Generator
from dataclasses import dataclass

from lbadvisor.comparison.comparison import RunResult
from lbadvisor.errors import DivergedError, StoreError
from lbadvisor.recipe.identity import digest_of, identity_of
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.records.run import Run, RunStatus, told
from lbadvisor.refine.refine_request import RefineRequest, pruning_marks, trial_plan, value_of
from lbadvisor.refine.refinement import Outcome, TrialMetric
from lbadvisor.refine.search_space import Point
from lbadvisor.refine.study import Claim, SharedStudy
from lbadvisor.runs.reuse import RESULTS, preferred
from lbadvisor.runs.runner import Progress, RunRequest, Started, train_run
from lbadvisor.runs.workspace import Workspace
from lbadvisor.store import Store
from lbadvisor.training.data.dataset import Dataset, Preparing


@dataclass(frozen=True, slots=True)
class TrialRun:
    """An event in one of a trial's runs."""

    number: int
    seed: int
    run: str
    updates: int
    event: Preparing | Started | Progress


def evaluate_trial(
    workspace: Workspace, request: RefineRequest, study: SharedStudy, dataset: Dataset | None, claim: Claim
) -> Generator[TrialRun, None, Outcome]:
    """Train the trial's runs, each from where it stopped; a run that was trained before, under any name, is taken.

    Closing the iterator saves the run: whoever claims the trial next resumes it.
    """
    recipe = trial_plan(request, claim.point).adapted
    runs: list[Run] = []
    for seed in request.seeds:
        run = ended_run(workspace.store, recipe, seed)
        if run is None:
            prunes = request.prune and seed == request.seeds[0]
            run = yield from _trained(workspace, request, study, dataset, claim, seed, prunes=prunes)
            if run.status not in RESULTS:
                return _outcome(workspace.store, request, [run], claim, pruned=True)
        runs.append(run)
    return _outcome(workspace.store, request, runs, claim, pruned=False)


def ended_run(store: Store, recipe: Recipe, seed: int) -> Run | None:
    """A stored run of the same training and seed that is complete or diverged."""
    return preferred([run for run in store.runs_of(identity_of(recipe, seed)) if run.status in RESULTS])


def run_name(request: RefineRequest, recipe: Recipe, point: Point, seed: int) -> str:
    """For example digits-1024-e0.37-s0-1a2b3c, from the recipe and the seed alone."""
    lead = f"{request.baseline.name[:50]}-{recipe.batch.size}-e{point[0]:.4g}"
    return f"{lead}-s{seed}-{digest_of(recipe)[:6]}"


def _trained(
    workspace: Workspace,
    request: RefineRequest,
    study: SharedStudy,
    dataset: Dataset | None,
    claim: Claim,
    seed: int,
    *,
    prunes: bool,
) -> Generator[TrialRun, None, Run]:
    plan = trial_plan(request, claim.point)
    recipe = plan.adapted
    name = run_name(request, recipe, claim.point, seed)
    events = train_run(workspace, RunRequest(recipe, plan, name, seed), dataset)
    updates = recipe.schedule.updates or 0
    marks = list(pruning_marks(recipe)) if prunes else []
    try:
        for event in events:
            yield TrialRun(claim.number, seed, name, updates, event)
            if not isinstance(event, Progress) or event.measurement is None or event.update == event.updates:
                continue
            value = value_of(event.measurement, request.metric)
            passed = [mark for mark in marks if 100 * event.update >= mark * updates]
            if value is not None and passed:
                marks = [mark for mark in marks if mark not in passed]
                if study.is_hopeless(claim, passed[-1], value):
                    events.close()
                    break
    except DivergedError:
        pass  # the run is stored as diverged: that is the worst trial, not an error
    finally:
        events.close()
    return workspace.store.run(name)


def _outcome(store: Store, request: RefineRequest, runs: list[Run], claim: Claim, *, pruned: bool) -> Outcome:
    results = store.results_of([run.number for run in runs])
    own = [one for one in results if one.run.name == run_name(request, one.run.recipe, claim.point, one.run.seed)]
    examples = sum(one.run.update * one.run.recipe.batch.size for one in own)
    return Outcome(
        values=tuple(run_value(one, request.metric) for one in results),
        pruned=pruned,
        runs=tuple(run.name for run in runs),
        epochs=examples / request.baseline.data.train_examples,
        examples=examples,
        seconds=sum(told(one.last.seconds) for one in own if one.last is not None),
    )


def run_value(result: RunResult, metric: TrialMetric) -> float:
    """The run's last evaluation; infinite if it diverged. Raises `StoreError` if there is none."""
    run = result.run
    if run.status is RunStatus.DIVERGED:
        return math.inf
    value = None if result.final is None else value_of(result.final, metric)
    if value is None:
        raise StoreError(f"the run {run.name} was never evaluated, so it cannot be a trial")
    return value if math.isfinite(value) else math.inf
