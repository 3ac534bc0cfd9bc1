"""Reads ladders, with the runs of their arms."""

from typing import Any

from sqlalchemy import Connection, Row, Select, select

from lbadvisor.records.run import Ladder
from lbadvisor.store.rows import recipe_of
from lbadvisor.store.tables import ladder_runs, ladders, recipes

LADDERS: Select[Any] = select(ladders, recipes.c.body).join(recipes, ladders.c.baseline == recipes.c.number)


def all_ladders(connection: Connection) -> list[Ladder]:
    """All ladders, by number."""
    return [_ladder_of(connection, row) for row in connection.execute(LADDERS.order_by(ladders.c.number))]


def find_ladder(connection: Connection, name: str) -> Ladder | None:
    """The ladder with that name; None if there is none."""
    row = connection.execute(LADDERS.where(ladders.c.name == name)).one_or_none()
    return None if row is None else _ladder_of(connection, row)


def _ladder_of(connection: Connection, row: Row[Any]) -> Ladder:
    members = select(ladder_runs.c.arm, ladder_runs.c.run).where(ladder_runs.c.ladder == row.number)
    return Ladder(
        number=row.number,
        name=row.name,
        baseline=recipe_of(row.body),
        target_batch_size=row.target_batch_size,
        created_at=row.created_at,
        arms=tuple((arm, run) for arm, run in connection.execute(members.order_by(ladder_runs.c.run))),
    )
