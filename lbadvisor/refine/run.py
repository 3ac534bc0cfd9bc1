"""A refinement as a whole: the search over trainings, then the test set once, and what may be concluded."""

from collections.abc import Generator
from functools import partial

from lbadvisor.advisor.refinement import Estimate, Refinement, TestResult, Trial, conclude, paired_gain
from lbadvisor.advisor.search_space import Point
from lbadvisor.refine.estimate import estimate, least_value
from lbadvisor.refine.objective import TrialRun, evaluate
from lbadvisor.refine.past import past_trials
from lbadvisor.refine.request import RefineRequest, price_epochs
from lbadvisor.refine.search import BudgetSpent, Limits, TrialBegins, TrialEnds, Waits, search
from lbadvisor.refine.study import SharedStudy
from lbadvisor.refine.test_set import test_accuracy

Event = TrialRun | TrialBegins | TrialEnds | Waits | BudgetSpent | int


def refine(request: RefineRequest) -> Generator[Event, None, Refinement]:
    """Search the exponent, and say what was found; an int among the events is the number of past trials taken in.

    Closing the iterator saves the run that is under way; the same request goes on within it. Raises the errors of
    `errors.py`.
    """
    with SharedStudy.open(request.database, request.study_name, request.space) as study:
        yield study.take_in(past_trials(request))
        yield from search(
            study,
            partial(evaluate, request, study),
            Limits(request.trials, request.epochs_budget),
            first=request.first,
            price_epochs=partial(price_epochs, request),
            floor=least_value(request.metric, request.baseline.data.validation_examples),
        )
        return _concluded(request, study.name, tuple(study.trials()))


def _concluded(request: RefineRequest, study: str, trials: tuple[Trial, ...]) -> Refinement:
    held_out = request.baseline.data.validation_examples or 0
    found = estimate(trials, request.space, request.metric, held_out)
    seconds = sum(trial.outcome.seconds for trial in trials)
    epochs = sum(trial.outcome.epochs for trial in trials)
    kept, conclusion = conclude(request.space, found, request.metric, len(request.seeds), epochs, seconds)
    theory, chosen = _of_point(trials, request.space.theory), _chosen(trials, found)
    paired = None
    if theory is not None and chosen is not None and theory.number != chosen.number:
        paired = paired_gain(theory.outcome.values, chosen.outcome.values)
    judged = {trial.number: trial for trial in (theory, chosen) if trial is not None}
    return Refinement(
        study=study,
        baseline=request.baseline.name,
        batch_size=request.baseline.batch.size,
        target_batch_size=request.request.target_batch_size,
        validation_examples=held_out,
        seeds=request.seeds,
        metric=request.metric,
        space=request.space,
        trials=trials,
        estimate=found,
        paired=paired,
        kept=kept,
        epochs=epochs,
        examples=sum(trial.outcome.examples for trial in trials),
        seconds=seconds,
        tests=tuple(_tested(request, trial) for trial in judged.values() if trial.value < float("inf")),
        conclusion=conclusion,
    )


def _chosen(trials: tuple[Trial, ...], found: Estimate | None) -> Trial | None:
    return None if found is None else _of_point(trials, found.chosen)


def _of_point(trials: tuple[Trial, ...], point: Point) -> Trial | None:
    return next((t for t in trials if t.point == point and not t.outcome.pruned), None)


def _tested(request: RefineRequest, trial: Trial) -> TestResult:
    accuracies = (test_accuracy(request.database, run, request.data_dir, request.device) for run in trial.outcome.runs)
    return TestResult(trial.point, tuple(accuracies))
