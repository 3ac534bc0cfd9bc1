"""From rows of the database to records."""

import math
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from lbadvisor.errors import StoreError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.records.quantities import ACCURACY, EVALUATED
from lbadvisor.records.run import Environment, Guarantee, Measurement, Run, RunStatus
from lbadvisor.store.address import DatabaseAddress
from lbadvisor.store.tables import recipes, runs

FIELDS = tuple(field.name for field in fields(Measurement))
"""The columns of a measurement, in the order of `measurement_of`."""

# An evaluation gives all of its numbers or none.
_MAY_BE_MISSING = frozenset(FIELDS.index(quantity.key) for quantity in EVALUATED)
_ACCURACY = FIELDS.index(ACCURACY.key)

RUNS: Select[Any] = select(runs, recipes.c.body).join(recipes, runs.c.recipe == recipes.c.number)
"""Selects the rows for `run_of`."""


@lru_cache(maxsize=256)
def recipe_of(body: str) -> Recipe:
    """The recipe stored as JSON. Raises `pydantic.ValidationError`, which is a `ValueError`."""
    return Recipe.model_validate_json(body)


def run_of(row: Row[Any], database: DatabaseAddress) -> Run:
    """The record of a row of `RUNS` in the database. Raises `StoreError` for a row from another program."""
    values = row._mapping
    try:
        recipe, status = recipe_of(values["body"]), RunStatus(values["status"])
        guarantee = None if values["guarantee"] is None else Guarantee(values["guarantee"])
    except ValueError as error:
        raise StoreError(
            f"database {database}: run {values['number']} ({values['name']}) was written by another version of "
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
        ranks=values["ranks"],
        shares=values["shares"],
    )


ReadMeasurement = Callable[..., Measurement]
"""Makes the record of a row of `FIELDS`."""


def reader_of_run(connection: Connection, run_number: int) -> ReadMeasurement:
    """What reads the run's measurements: NULL is a nan of our own training, and what one elsewhere did not tell."""
    query = select(recipes.c.body).join(runs, runs.c.recipe == recipes.c.number).where(runs.c.number == run_number)
    body = connection.scalar(query)
    return _measurement_of if body is None or recipe_of(body).recorded is None else Measurement


def _measurement_of(*row: Any) -> Measurement:
    if None in row:
        missing = _MAY_BE_MISSING if row[_ACCURACY] is None else ()
        row = tuple(math.nan if value is None and place not in missing else value for place, value in enumerate(row))
    return Measurement(*row)
