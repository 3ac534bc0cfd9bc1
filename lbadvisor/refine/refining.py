"""A whole refinement: the search over trainings, by one process or several; then the test set once, and the result."""

from collections.abc import Generator
from functools import partial

from lbadvisor.recipe.schedule import in_updates
from lbadvisor.refine.estimate import estimate, paired
from lbadvisor.refine.objective import TrialRun, evaluate_trial
from lbadvisor.refine.on_test_set import test_accuracy
from lbadvisor.refine.past import past_trials
from lbadvisor.refine.refine_request import RefineRequest, price_epochs
from lbadvisor.refine.refinement import Refinement, TestResult, Trial, conclude
from lbadvisor.refine.search import BudgetSpent, Limits, SearchWaits, TrialBegins, TrialEnds, TrialFails, search
from lbadvisor.refine.search_space import Point
from lbadvisor.refine.study import SharedStudy
from lbadvisor.runs.workspace import Workspace
from lbadvisor.training.data.dataset import Preparing

RefineEvent = Preparing | TrialRun | TrialBegins | TrialEnds | TrialFails | SearchWaits | BudgetSpent


def take_in_past(workspace: Workspace, request: RefineRequest) -> tuple[int, int]:
    """Make trials of what past runs measured; returns of how many, and how many trials are still to end."""
    with SharedStudy.open(workspace.store, request.study_name, request.space) as study:
        taken_in = study.take_in(past_trials(workspace.store, request))
        return taken_in, request.trials - len(study.trials())


def search_trials(workspace: Workspace, request: RefineRequest) -> Generator[RefineEvent]:
    """Search the exponent; yields after every update.

    Several processes may do so for one request. Closing the iterator saves the current run; the same request resumes
    it. The data set is prepared once, and not at all if there are enough trials. Raises the errors of `errors.py`.
    """
    with SharedStudy.open(workspace.store, request.study_name, request.space) as study:
        dataset = None
        if len(study.trials()) < request.trials:
            dataset = yield from workspace.machine.prepare(in_updates(request.baseline))
        yield from search(
            study,
            partial(evaluate_trial, workspace, request, study, dataset),
            Limits(request.trials, request.epochs_budget),
            first=request.first,
            price_epochs=partial(price_epochs, request),
            measure=request.measure,
            since=workspace.sitting.began,
        )


def concluded(workspace: Workspace, request: RefineRequest) -> Refinement:
    """What the search found; measures the test set where that has not been done."""
    with SharedStudy.open(workspace.store, request.study_name, request.space) as study:
        return _concluded(workspace, request, study.name, tuple(study.trials()))


def _concluded(workspace: Workspace, request: RefineRequest, study: str, trials: tuple[Trial, ...]) -> Refinement:
    found = estimate(trials, request.space, request.measure)
    seconds = sum(trial.outcome.seconds for trial in trials)
    epochs = sum(trial.outcome.epochs for trial in trials)
    kept, conclusion = conclude(request.space, found, request.metric, len(request.seeds), epochs, seconds)
    judged = dict.fromkeys((request.space.theory, *(() if found is None else (found.chosen,))))
    tested = [trial for point in judged if (trial := _of_point(trials, point)) is not None]
    if request.baseline.task.kind == "regression":
        tested = []  # it has no accuracy
    return Refinement(
        study=study,
        baseline=request.baseline.name,
        batch_size=request.baseline.batch.size,
        target_batch_size=request.request.target_batch_size,
        validation_examples=request.measure.examples or 0,
        seeds=request.seeds,
        metric=request.metric,
        space=request.space,
        trials=trials,
        estimate=found,
        paired=None if found is None else paired(trials, request.space, request.measure, found.chosen),
        kept=kept,
        epochs=epochs,
        examples=sum(trial.outcome.examples for trial in trials),
        seconds=seconds,
        tests=tuple(_tested(workspace, trial) for trial in tested if trial.value < float("inf")),
        conclusion=conclusion,
    )


def _of_point(trials: tuple[Trial, ...], point: Point) -> Trial | None:
    return next((t for t in trials if t.point == point and not t.outcome.pruned), None)


def _tested(workspace: Workspace, trial: Trial) -> TestResult:
    accuracies = (test_accuracy(workspace, run) for run in trial.outcome.runs)
    return TestResult(trial.point, tuple(accuracies))
