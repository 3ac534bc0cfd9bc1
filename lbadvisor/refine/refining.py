"""A whole refinement: the search over trainings, then the test set once, and the conclusion."""

from collections.abc import Generator
from functools import partial

from lbadvisor.refine.estimate import estimate, paired
from lbadvisor.refine.objective import TrialRun, evaluate_trial
from lbadvisor.refine.on_test_set import test_accuracy
from lbadvisor.refine.past import past_trials
from lbadvisor.refine.refine_request import RefineRequest, price_epochs
from lbadvisor.refine.refinement import Refinement, TestResult, Trial, conclude
from lbadvisor.refine.search import BudgetSpent, Limits, SearchWaits, TrialBegins, TrialEnds, search
from lbadvisor.refine.search_space import Point
from lbadvisor.refine.study import SharedStudy
from lbadvisor.runs.workspace import Workspace

RefineEvent = TrialRun | TrialBegins | TrialEnds | SearchWaits | BudgetSpent | int


def refine(workspace: Workspace, request: RefineRequest) -> Generator[RefineEvent, None, Refinement]:
    """Search the exponent, and say what was found; an int among the events is the number of past trials taken in.

    Closing the iterator saves the current run; the same request resumes it. Raises the errors of
    `errors.py`.
    """
    with SharedStudy.open(workspace.store, request.study_name, request.space) as study:
        yield study.take_in(past_trials(workspace.store, request))
        yield from search(
            study,
            partial(evaluate_trial, workspace, request, study),
            Limits(request.trials, request.epochs_budget),
            first=request.first,
            price_epochs=partial(price_epochs, request),
            measure=request.measure,
        )
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
