"""What SQL takes of a run is what Python takes of all its measurements."""

import math
import random

import pytest
from plain_results import result_of, standing_of

from lbadvisor.comparison.comparison import Position
from lbadvisor.errors import UnknownRunError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Batch, Data, Model, Sgd
from lbadvisor.recipe.schedule_tables import Schedule
from lbadvisor.records.axis import Axis
from lbadvisor.records.run import Environment, Measurement, Run
from lbadvisor.store import Store

CPU = Environment("cpu", "a test's processor", "0.1.0", "3.11.7", "2.15.0", None, None)
RECIPE = Recipe(
    schema=1, name="small", data=Data(name="digits", train_examples=1024), model=Model(name="digits_mlp"),
    batch=Batch(size=32), optimizer=Sgd(name="sgd", lr=0.05), schedule=Schedule(updates=400),
)  # fmt: skip


def random_measurements(seed: int, clipping: bool) -> list[Measurement]:
    """Forty, at random updates, every third evaluated; some numbers are nan or infinite, as of a run that diverges."""
    draws = random.Random(seed)
    updates = sorted(draws.sample(range(1, 400), 40))
    odd = [math.nan, math.inf] if seed % 2 else []
    return [
        Measurement(
            update=update,
            epoch=update / 32,
            examples=update * 32,
            loss=draws.choice([0.5, 0.25, *odd]),
            lr=0.05,
            gradient_norm=1.0,
            clipped_share=draws.random() if clipping else 0.0,
            weight_distance=draws.random(),
            evaluation_loss=draws.choice([0.3, 0.2, 0.4, *odd]) if place % 3 == 0 else None,
            evaluation_accuracy_percent=draws.choice([90.0, 91.5, 88.0]) if place % 3 == 0 else None,
            seconds=update * 0.1 + place,
        )
        for place, update in enumerate(updates)
    ]


def recorded(store: Store, name: str, measurements: list[Measurement]) -> Run:
    run = store.add_run(name, RECIPE, 0, 400, CPU)
    store.record(run.number, measurements)
    return store.run(name)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("clipping", [True, False])
def test_a_result_is_that_of_all_measurements(store: Store, seed: int, clipping: bool) -> None:
    measurements = random_measurements(seed, clipping)
    run = recorded(store, "a", measurements)
    (found,), expected = store.results_of([run.number]), result_of(run, measurements)
    assert repr((found.last, found.final, found.best)) == repr((expected.last, expected.final, expected.best))
    assert found.clipped_percent == pytest.approx(expected.clipped_percent)


def test_a_run_without_measurements_or_evaluations_has_what_there_is(store: Store) -> None:
    empty = recorded(store, "empty", [])
    bare = recorded(store, "bare", [m for m in random_measurements(2, True) if m.evaluation_loss is None])
    assert [(r.last, r.final, r.best, r.clipped_percent) for r in store.results_of([empty.number])] == [
        (None, None, {}, None)
    ]
    (found,) = store.results_of([bare.number])
    assert found.last is not None
    assert (found.final, found.best) == (None, {})


@pytest.mark.parametrize("axis", list(Axis))
@pytest.mark.parametrize("value", [0.5, 3.0, 40.0, 200.0, 6000.0, 1e9])
def test_a_standing_is_that_of_all_measurements(store: Store, axis: Axis, value: float) -> None:
    runs = [random_measurements(seed, True) for seed in (0, 2, 4)] + [[]]
    numbers = [recorded(store, f"run{i}", measurements).number for i, measurements in enumerate(runs)]
    position = Position(axis, value)
    assert store.standings_of(numbers, [position]) == [standing_of(runs, position)]


def test_a_run_that_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(UnknownRunError, match="no run 9"):
        store.results_of([9])
