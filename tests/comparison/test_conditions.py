"""Claims about the conditions that choose runs."""

from datetime import UTC, datetime

import pytest

from lbadvisor.comparison.conditions import meets, parse_condition
from lbadvisor.errors import UsageError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Batch, Data, Model, Sgd
from lbadvisor.recipe.schedule_tables import Schedule
from lbadvisor.records.run import Environment, Run, RunStatus

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN = Run(
    7, "digits-32-s3",
    Recipe(
        schema=1, name="digits", data=Data(name="digits", train_examples=1024), model=Model(name="digits_mlp"),
        batch=Batch(size=32), optimizer=Sgd(name="sgd", lr=0.05), schedule=Schedule(updates=20),
    ),
    None, 3, RunStatus.COMPLETE, None, 20, 20, Environment("cpu", "", "", "", "", None, None), NOON, NOON, 0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("batch=32", True), ("batch = 64", False), ("batch!=64", True), ("batch>=32", True), ("batch<32", False),
        ("status=complete", True), ("seed>2", True), ("name=digits-32-s3", True), ("recipe=digits", True),
        ("optimizer.lr=0.05", True), ("optimizer.lr>0.1", False), ("optimizer.nesterov=false", True),
        ("batch_norm.ghost_batch_size=32", False), ("batch_norm.ghost_batch_size=none", True),
        ("batch_norm.ghost_batch_size!=none", False), ("adapted=none", True), ("data.name>3", False),
    ],
)  # fmt: skip
def test_a_run_meets_what_is_true_of_it(text: str, met: bool) -> None:
    assert meets(RUN, [parse_condition(text)]) is met


def test_all_conditions_must_be_met() -> None:
    assert not meets(RUN, [parse_condition("batch=32"), parse_condition("seed=4")])
    assert meets(RUN, [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bach=32", "did you mean `batch`"),
        ("optimzer.lr=1", "no field `optimzer.lr`"),
        ("batch", "give field=value"),
        ("batch=", "give field=value"),
        ("status>complete", "compares numbers"),
    ],
)
def test_what_is_no_condition_is_told(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_condition(text)
