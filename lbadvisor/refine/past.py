"""Stored runs that can serve as trials: the same training apart from its exponent, with all the seeds."""

import math

from lbadvisor.recipe.identity import digest_of
from lbadvisor.records.run import Run
from lbadvisor.refine.objective import run_value
from lbadvisor.refine.refine_request import RefineRequest, trial_plan
from lbadvisor.refine.refinement import Outcome
from lbadvisor.refine.search_space import Point
from lbadvisor.runs.reuse import RESULTS, preferred
from lbadvisor.store import Store


def past_trials(store: Store, request: RefineRequest) -> list[tuple[Point, Outcome]]:
    """The points within the space that the database has every seed's run of, with their outcomes.

    A run's exponent is computed from its learning rate; everything else, including the validation examples, must then
    match the plan for that exponent. These trials cost nothing.
    """
    by_point: dict[Point, dict[int, list[Run]]] = {}
    for run in store.runs():
        if run.seed in request.seeds and run.status in RESULTS:
            point = _point_of(run, request)
            if point is not None:
                by_point.setdefault(point, {}).setdefault(run.seed, []).append(run)
    found = []
    for point, of_seeds in by_point.items():
        if len(of_seeds) < len(request.seeds):
            continue
        chosen = [one for seed in request.seeds if (one := preferred(of_seeds[seed])) is not None]
        results = store.results_of([one.number for one in chosen])
        values = (run_value(one, request.metric) for one in results)
        found.append((point, Outcome(tuple(values), runs=tuple(one.name for one in chosen), taken_in=True)))
    return found


def _point_of(run: Run, request: RefineRequest) -> Point | None:
    baseline, target = request.baseline, request.request.target_batch_size
    if run.recipe.batch.size != target or target == baseline.batch.size:
        return None
    ratio, factor = target / baseline.batch.size, run.recipe.optimizer.lr / baseline.optimizer.lr
    point = request.space.at(round(math.log(factor) / math.log(ratio), 10))
    if not request.space.holds(point):
        return None
    recipe = trial_plan(request, point).adapted
    return point if digest_of(recipe) == digest_of(run.recipe) else None
