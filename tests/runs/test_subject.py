"""Claims about what the diagnostics of stored runs are of."""

from pathlib import Path

import pytest

from lbadvisor.errors import UnknownRunError, UsageError
from lbadvisor.planning.plan import advise, plan_json
from lbadvisor.planning.request import Request
from lbadvisor.recipe.parts import PARTS
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Batch, Data, Model, Sgd
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.recipe.schedule_tables import Schedule
from lbadvisor.records.run import Environment
from lbadvisor.runs.subject import subject_of
from lbadvisor.store import Store

CPU = Environment("cpu", "a processor", "0.1.0", "3.11.0", "2.15.0", None, None)
BASELINE = Recipe(
    schema=1,
    name="small",
    data=Data(name="digits", train_examples=1024),
    model=Model(name="digits_mlp"),
    batch=Batch(size=32),
    optimizer=Sgd(name="sgd", lr=0.05, momentum=0.9),
    schedule=Schedule(updates=20),
)


def add(store: Store, name: str, recipe: Recipe, seed: int, target: int | None = None) -> None:
    """A run of the recipe, or of what it becomes at the target batch size."""
    plan = None if target is None else advise(recipe, Request(target, PARTS))
    number = None if plan is None else store.add_plan(plan_json(plan), recipe, plan.adapted)
    store.add_run(name, in_updates(recipe) if plan is None else plan.adapted, seed, 20, CPU, number)


@pytest.fixture
def store(tmp_path: Path):
    with Store.open(tmp_path / "runs.db", create=True) as opened:
        for seed in (0, 1):
            add(opened, f"sb-{seed}", BASELINE, seed)
            add(opened, f"ra-{seed}", BASELINE, seed, 256)
        add(opened, "larger", BASELINE, 0, 512)
        add(opened, "other", BASELINE.model_copy(update={"optimizer": Sgd(name="sgd", lr=0.1)}), 0)
        yield opened


def test_adapted_runs_lead_to_their_baseline_and_to_the_largest_batch(store: Store):
    subject = subject_of(store, ["ra-0", "larger"])
    assert subject.baseline.optimizer == BASELINE.optimizer
    assert subject.baseline.batch.size == 32
    assert subject.target_batch_size == 512
    assert subject_of(store, ["sb-0"]).target_batch_size is None


def test_of_runs_that_differ_in_their_seed_the_first_ones_stand_for_all(store: Store):
    subject = subject_of(store, ["sb-1", "ra-0", "sb-0", "ra-1"])
    assert [run.name for run in subject.of_each_recipe(1)] == ["sb-1", "ra-0"]
    assert [run.name for run in subject.of_each_recipe(2)] == ["sb-1", "ra-0", "sb-0", "ra-1"]


def test_runs_of_several_baselines_have_no_common_theory(store: Store):
    with pytest.raises(UsageError, match=r"different baselines, small \(batch 32\), small \(batch 32\): name the runs"):
        subject_of(store, ["sb-0", "other"])
    with pytest.raises(UnknownRunError):
        subject_of(store, ["nobody"])
