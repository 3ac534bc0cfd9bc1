"""Claims about measurements read as columns."""

import math

import pytest

from lbadvisor.errors import UnknownRunError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Batch, Data, Model, Sgd
from lbadvisor.recipe.schedule_tables import Schedule
from lbadvisor.records.run import Environment, Measurement
from lbadvisor.store import Store

CPU = Environment("cpu", "a test's processor", "0.1.0", "3.11.7", "2.15.0", None, None)
RECIPE = Recipe(
    schema=1,
    name="small",
    data=Data(name="digits", train_examples=1024),
    model=Model(name="digits_mlp"),
    batch=Batch(size=256),
    optimizer=Sgd(name="sgd", lr=0.05),
    schedule=Schedule(updates=20),
)
NAN = math.nan
TAKEN = (
    Measurement(1, 0.25, 256, 2.5, 0.05, 1.5, 1.0, 0.125, None, None, 0.5),
    Measurement(3, 0.75, 768, 1.25, 0.05, 1.25, 0.5, 0.25, 0.5, 62.5, 1.5),
    Measurement(4, 1.0, 1024, NAN, 0.025, NAN, NAN, NAN, NAN, 12.5, 2.0),
)


@pytest.fixture(autouse=True)
def _two_runs(store: Store) -> None:
    """Run 1 as measured above, run 2 not at all."""
    for name in ("measured", "new"):
        store.add_run(name, RECIPE, 1, 20, CPU)
    store.record(1, TAKEN)


def test_columns_hold_what_the_records_hold_and_inf_for_what_is_not_finite(store: Store) -> None:
    (columns,) = store.columns_of([1])
    assert len(columns.of) == 8
    for key, column in columns.of.items():
        values = [getattr(one, key) for one in store.measurements(1)]
        expected = [value if value is not None and math.isfinite(value) else math.inf for value in values]
        assert column.tolist() == expected, key


def test_the_clock_gives_epochs_and_examples(store: Store) -> None:
    (columns,) = store.columns_of([1])
    assert [columns.epochs_per_update * update for update in columns.of["update"]] == [m.epoch for m in TAKEN]
    assert [columns.examples_per_update * update for update in columns.of["update"]] == [m.examples for m in TAKEN]


def test_a_run_without_measurements_has_empty_columns(store: Store) -> None:
    _, columns = store.columns_of([1, 2])
    assert math.isnan(columns.epochs_per_update)
    assert [len(column) for column in columns.of.values()] == [0] * 8


def test_an_unknown_run_is_an_error(store: Store) -> None:
    with pytest.raises(UnknownRunError, match="there is no run 3"):
        list(store.columns_of([1, 3]))
