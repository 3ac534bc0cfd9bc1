"""From rows of the database to records."""

import math
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Row, Select, select

from lbadvisor.errors import StoreError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.records.run import Environment, Guarantee, Measurement, Run, RunStatus
from lbadvisor.store.tables import recipes, runs

FIELDS = tuple(field.name for field in fields(Measurement))
"""The columns of a measurement, in the order of `measurement_of`."""

RUNS: Select[Any] = select(runs, recipes.c.body).join(recipes, runs.c.recipe == recipes.c.number)
"""Selects the rows for `run_of`."""


@lru_cache(maxsize=256)
def recipe_of(body: str) -> Recipe:
    """The recipe stored as JSON. Raises `pydantic.ValidationError`, which is a `ValueError`."""
    return Recipe.model_validate_json(body)


def run_of(row: Row[Any], path: Path) -> Run:
    """The record of a row of `RUNS` in the database `path`. Raises `StoreError` for a row from another program."""
    values = row._mapping
    try:
        recipe, status = recipe_of(values["body"]), RunStatus(values["status"])
        guarantee = None if values["guarantee"] is None else Guarantee(values["guarantee"])
    except ValueError as error:
        raise StoreError(
            f"database {path}: run {values['number']} ({values['name']}) was written by another version of "
            f"the program, or by hand: {str(error).splitlines()[0]}"
        ) from error
    return Run(
        number=values["number"],
        name=values["name"],
        recipe=recipe,
        plan_number=values["plan"],
        seed=values["seed"],
        status=status,
        ended_because=values["ended_because"],
        update=values["update"],
        updates=values["updates"],
        environment=Environment(**{field.name: values[field.name] for field in fields(Environment)}),
        created_at=values["created_at"],
        changed_at=values["changed_at"],
        resumes=values["resumes"],
        guarantee=guarantee,
        test_loss=values["test_loss"],
        test_accuracy_percent=values["test_accuracy_percent"],
        threads=values["threads"],
        micro_size=values["micro_size"],
    )


def measurement_of(
    update: int,
    epoch: float,
    examples: int,
    loss: float | None,
    lr: float,
    gradient_norm: float | None,
    clipped_share: float | None,
    weight_distance: float | None,
    evaluation_loss: float | None,
    evaluation_accuracy_percent: float | None,
    seconds: float,
) -> Measurement:
    """The record of a row of `FIELDS`; SQLite stores nan as NULL."""
    return Measurement(
        update,
        epoch,
        examples,
        math.nan if loss is None else loss,
        lr,
        math.nan if gradient_norm is None else gradient_norm,
        math.nan if clipped_share is None else clipped_share,
        math.nan if weight_distance is None else weight_distance,
        # An evaluation has both or neither.
        math.nan if evaluation_loss is None and evaluation_accuracy_percent is not None else evaluation_loss,
        evaluation_accuracy_percent,
        seconds,
    )
