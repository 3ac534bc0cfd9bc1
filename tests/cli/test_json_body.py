"""Records as JSON."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime

from lbadvisor.cli.display.json_body import json_of
from lbadvisor.planning.adjustments import Adjustment
from lbadvisor.recipe.recipe import Batch, Data, Model, Recipe, Schedule
from lbadvisor.recipe.recipe_tables import Sgd
from lbadvisor.records.run import Environment, Ladder, Run, RunStatus
from lbadvisor.runs.resume_proof import ResumeProof

RECIPE = Recipe(
    schema=1, name="small", data=Data(name="digits", train_examples=1024), model=Model(name="digits_mlp"),
    batch=Batch(size=32), optimizer=Sgd(name="sgd", lr=0.05), schedule=Schedule(updates=20),
)  # fmt: skip
CPU = Environment("cpu", "a processor", "0.1.0", "3.11.0", "2.15.0", None, None)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Inner:
    """A record inside another one."""

    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Outer:
    """A record with others inside."""

    value: float
    inner: tuple[Inner, ...]
    anything: object


def test_what_is_not_finite_is_null_however_deep_it_lies():
    found = json_of(Outer(math.inf, (Inner((1.0, math.nan, -math.inf)),), (1, math.nan)))
    assert found == {"value": None, "inner": [{"values": [1.0, None, None]}], "anything": [1, None]}


def test_a_runs_moments_are_iso_8601_and_its_recipe_has_what_it_sets():
    run = Run(1, "a", RECIPE, None, 7, RunStatus.COMPLETE, None, 20, 20, CPU, NOON, NOON, 0)
    found = json_of(run)
    assert (found["created_at"], found["status"], found["ended_because"]) == (NOON.isoformat(), "complete", None)
    assert None not in found["recipe"].values()
    assert Recipe.model_validate_json(json.dumps(found["recipe"])) == RECIPE


def test_a_ladder_has_its_arms_in_order():
    found = json_of(Ladder(1, "l", RECIPE, 512, NOON, (("sb", 1), ("lb", 2))))
    assert found["arms"] == [["sb", 1], ["lb", 2]]
    assert found["baseline"]["batch"] == {"size": 32}


def test_a_proofs_recipe_has_what_it_sets_too():
    found = json_of(ResumeProof(RECIPE, 0, 8, 4, 0.125, 4, 20, 2, CPU, 1, None))
    assert found["recipe"] == RECIPE.model_dump(mode="json", exclude_none=True)


def test_whole_numbers_of_a_plans_line_stay_whole():
    line = Adjustment("schedule.milestones", (203, 304), (6, 9), "updates", "recipe", "rule", "r", "source", "valid")
    assert json.dumps([json_of(line)["before"], json_of(line)["after"]]) == "[[203, 304], [6, 9]]"
