"""A recipe: all hyperparameters of one training, as frozen, checked data.

A length of training is given in epochs or in updates, never in both; `schedule.in_updates` converts a recipe to
updates only.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from lbadvisor.recipe.coherence import RULES
from lbadvisor.recipe.faults import refuse
from lbadvisor.recipe.own_tables import OwnLoss, OwnMetric, Task
from lbadvisor.recipe.recipe_model import Name, RecipeModel
from lbadvisor.recipe.recipe_tables import (
    AdaptedFrom,
    Batch,
    BatchNorm,
    Checkpoints,
    Compute,
    Data,
    GradientNoise,
    Measurements,
    Model,
    Optimizer,
    Recorded,
    Regularization,
    WeightEma,
    first_default,
)
from lbadvisor.recipe.schedule_tables import Clipping, Schedule

Scalar = str | int | float | bool


class Recipe(RecipeModel):
    """All hyperparameters of one training.

    Raises `pydantic.ValidationError` with everything that is wrong, within its tables and between them.
    """

    schema_version: Literal[1] = Field(alias="schema", description="version of this format")
    name: Name = Field(description="the recipe's name, usually its file's name")
    description: str = Field("", description="what it trains, and where its numbers come from; changes no result")
    # Before the tables that it excuses from what only our own trainer needs.
    recorded: Recorded | None = None
    data: Data
    task: Task = Task()
    model: Model
    batch: Batch
    optimizer: Optimizer
    schedule: Schedule
    batch_norm: BatchNorm = BatchNorm()
    clipping: Clipping | None = None
    gradient_noise: GradientNoise | None = None
    regularization: Regularization = Regularization()
    weight_ema: WeightEma | None = None
    compute: Compute = Compute()
    # Per example, evaluating takes about a third of the time of training: at this cadence 2 to 3% of a run.
    measurements: Measurements = Measurements(every_epochs=0.25, evaluate_every_epochs=2.5)
    checkpoints: Checkpoints = Checkpoints()
    adapted_from: AdaptedFrom | None = None

    @property
    def own_code(self) -> "dict[str, Data | Model | OwnLoss | OwnMetric]":
        """The tables with a factory, which name the user's own code, by their paths."""
        tables = {"data": self.data, "model": self.model, "task.loss": self.task.loss, "task.metric": self.task.metric}
        return {path: table for path, table in tables.items() if table is not None and table.factory is not None}

    @field_validator(*RULES)
    @classmethod
    def _fits_the_tables_before(cls, table: Any, info: ValidationInfo) -> Any:
        # An invalid table is not in `info.data`: its own problems are reported, and the rules skip it.
        others = info.data
        faults = (
            fault
            for rule, needs in RULES[str(info.field_name)]
            if all(name in others for name in needs)
            for fault in rule(table, *(others[name] for name in needs))
        )
        return refuse(table, faults)


def metric_name(recipe: Recipe) -> str:
    """What the user's metric is called: the last word of its factory; empty if there is none."""
    return "" if recipe.task.metric is None else re.split("[:.]", recipe.task.metric.factory)[-1]


def hashed_body(recipe: Recipe, without: set[str]) -> dict[str, Any]:
    """The recipe as JSON for a hash, without these of its tables.

    Fields with their default are left out, so a field added to the format later does not change older hashes. For a
    default that has changed, the first one counts.
    """
    body = recipe.model_dump(mode="json", exclude=without, exclude_defaults=True)
    for name, field in type(recipe.optimizer).model_fields.items():
        first = first_default(field)
        if first is not None:
            body["optimizer"][name] = getattr(recipe.optimizer, name)
            if body["optimizer"][name] == first.value:
                del body["optimizer"][name]
    return body


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of the recipe as a document, in hexadecimal: of everything but its description.

    Two documents may be one training: see `identity.digest_of`.
    """
    body = hashed_body(recipe, {"description"})
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def fields_of(recipe: Recipe) -> tuple[tuple[str, Scalar], ...]:
    """Every value of `recipe`, defaults included, by its dotted path (`schedule.milestones[0].lr_factor`).

    In the order of the format, without absent values (None), the fields of absent tables, and what a training elsewhere
    leaves unknown.
    """
    leaves, recorded = _leaves("", recipe.model_dump(by_alias=True)), recipe.recorded
    return tuple(leaf for leaf in leaves if recorded is None or not recorded.hides(leaf[0]))


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else key, inner)
    elif isinstance(value, tuple):
        for i, inner in enumerate(value):
            yield from _leaves(f"{path}[{i}]", inner)
    elif value is not None:
        yield path, value


def differing_fields(before: Recipe, after: Recipe) -> tuple[tuple[str, Scalar | None, Scalar | None], ...]:
    """The fields whose values differ, as (dotted path, before, after); None if a recipe has no such value."""
    old, new = dict(fields_of(before)), dict(fields_of(after))
    rows = ((field, old.get(field), new.get(field)) for field in dict.fromkeys([*old, *new]))
    return tuple(row for row in rows if row[1] != row[2])


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the recipe format, for editors that complete and check TOML."""
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft} | Recipe.model_json_schema(by_alias=True) | {"title": "lbadvisor recipe"}
