"""Runs of the database that are trials already: the same training but for its exponent, with all the seeds."""

import math

from lbadvisor.advisor.records import Run, RunStatus
from lbadvisor.advisor.refinement import Outcome
from lbadvisor.advisor.search_space import Point, training_key
from lbadvisor.refine.objective import ENDED, run_value
from lbadvisor.refine.request import RefineRequest, trial_plan
from lbadvisor.store import Store


def past_trials(request: RefineRequest) -> list[tuple[Point, Outcome]]:
    """The points within the space that the database has every seed's run of, with their outcomes.

    A run's exponent is computed from its learning rate; that all else is what the plan of that exponent says, the
    validation examples among it, is then checked. They cost nothing now.
    """
    with Store.open(request.database, create=False) as store:
        by_point: dict[Point, dict[int, Run]] = {}
        for run in store.runs():
            if run.seed in request.seeds and run.status in ENDED:
                point = _point_of(run, request)
                if point is not None:
                    # Of several runs of one training the first that did not diverge: they differ in nothing else.
                    of_seeds = by_point.setdefault(point, {})
                    if run.seed not in of_seeds or of_seeds[run.seed].status is RunStatus.DIVERGED:
                        of_seeds[run.seed] = run
        found = []
        for point, of_seeds in by_point.items():
            if len(of_seeds) < len(request.seeds):
                continue
            runs = [of_seeds[seed] for seed in request.seeds]
            measured = store.measurements_of([run.number for run in runs])
            values = (run_value(run, rows, request.metric) for run, rows in zip(runs, measured, strict=True))
            found.append((point, Outcome(tuple(values), runs=tuple(run.name for run in runs), taken_in=True)))
    return found


def _point_of(run: Run, request: RefineRequest) -> Point | None:
    baseline, target = request.baseline, request.request.target_batch_size
    if run.recipe.batch.size != target or target == baseline.batch.size:
        return None
    ratio, factor = target / baseline.batch.size, run.recipe.optimizer.lr / baseline.optimizer.lr
    point = request.space.at(round(math.log(factor) / math.log(ratio), 10))
    if not request.space.holds(point):
        return None
    _, recipe = trial_plan(request, point)
    return point if training_key(recipe) == training_key(run.recipe) else None
