"""How far the weights went in the stored runs of a recipe."""

import math

from lbadvisor.diagnostics.landscape.potential import Reach
from lbadvisor.recipe.identity import digest_of
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.records.run import told
from lbadvisor.store import Store


def farthest_run(store: Store, recipe: Recipe) -> Reach | None:
    """The largest weight distance of all runs that train `recipe`, with whatever seed; None if there are none."""
    runs = [run for run in store.runs() if digest_of(run.recipe) == digest_of(recipe)]
    reached = [
        (distance, run.name)
        for run, measurements in zip(runs, store.measurements_of([run.number for run in runs]), strict=True)
        for measurement in measurements
        if math.isfinite(distance := told(measurement.weight_distance)) and distance > 0
    ]
    if not reached:
        return None
    distance, name = max(reached)
    return Reach(distance, f"as far as the run {name} went")
