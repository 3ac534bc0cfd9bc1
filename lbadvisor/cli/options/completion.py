"""What the shell offers where a name is due: recipes, runs, ladders, arms, columns and topics.

Nothing is made or changed, torch is not loaded, and where there is nothing to offer there is no error either.
"""

from collections.abc import Sequence
from pathlib import Path

import typer


def recipes(incomplete: str) -> list[str]:
    """The recipe files in the folder typed so far; at first those here and in ./recipes."""
    typed = incomplete[: incomplete.rfind("/") + 1]
    folders = [typed] if typed else ["", "recipes/"]
    return [f"{folder}{path.name}" for folder in folders for path in sorted(Path(folder or ".").glob("*.toml"))]


def runs(context: typer.Context) -> list[str]:
    """The names of the stored runs, newest first."""
    return _names(context, "runs")


def ladders(context: typer.Context) -> list[str]:
    """The names of the stored ladders, newest first."""
    return _names(context, "ladders")


def runs_or_ladders(context: typer.Context) -> list[str]:
    """The names of both."""
    return [*ladders(context), *runs(context)]


def recipes_or_runs(context: typer.Context, incomplete: str) -> list[str]:
    """The recipe files, runs and ladders."""
    return [*recipes(incomplete), *runs_or_ladders(context)]


def arms(incomplete: str) -> list[str]:
    """The arms of a ladder, for the last of a list."""
    from lbadvisor.planning.arms import ARMS

    return _last_of(incomplete, list(ARMS))


def columns(incomplete: str) -> list[str]:
    """The columns of a comparison, for the last of a list."""
    from lbadvisor.records.quantities import QUANTITIES, RATED

    names = [word for quantity in QUANTITIES for word in (quantity.alias, quantity.label) if word]
    best = [f"{lead} {quantity.alias or quantity.label}" for lead in ("best", "update of best") for quantity in RATED]
    return _last_of(incomplete, [*names, *best, "test accuracy"])


def topics() -> list[tuple[str, str]]:
    """The topics of `explain`, with what each is about."""
    from lbadvisor.planning.explanation import TOPICS

    return list(TOPICS.items())


def _last_of(incomplete: str, names: Sequence[str]) -> list[str]:
    typed = incomplete[: incomplete.rfind(",") + 1]
    return [typed + name for name in names]


def _names(context: typer.Context, table: str) -> list[str]:
    from lbadvisor.errors import LbadvisorError
    from lbadvisor.store import address_of
    from lbadvisor.store.query import query

    sql = f"SELECT name FROM {table} ORDER BY number DESC"
    try:
        return [str(name) for (name,) in query(address_of(context.params.get("database")), sql).rows]
    except LbadvisorError:  # no database yet, or another program's: a shell has no place for a message
        return []
