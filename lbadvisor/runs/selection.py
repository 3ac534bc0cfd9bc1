"""Selects stored runs for a command: runs and whole ladders by name, and runs that meet conditions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lbadvisor.comparison.compare import compare_runs
from lbadvisor.comparison.comparison import Comparison, Position
from lbadvisor.comparison.conditions import Condition, meets
from lbadvisor.comparison.metrics import Column
from lbadvisor.comparison.results import shared_positions
from lbadvisor.errors import UnknownRunError, UsageError
from lbadvisor.planning.arms import find_arm, place_of
from lbadvisor.recipe.identity import digest_of
from lbadvisor.records.run import Ladder, Run
from lbadvisor.store import Store


@dataclass(frozen=True, slots=True)
class Selection:
    """Runs in the order of their names, each once; `labels` are (run's number, arm's name) of a ladder's runs."""

    runs: tuple[Run, ...]
    labels: tuple[tuple[int, str], ...]


def select(store: Store, names: Sequence[str], where: Sequence[Condition] = ()) -> Selection:
    """The runs that `names` name: a run's name or number, or a ladder's name for all its runs; all runs without names.

    Of them those that meet every condition. Raises `UnknownRunError`, and `UsageError` for a name that is both a run's
    and a ladder's.
    """
    if not names:
        return Selection(_meeting(store, store.runs(), where), ())
    ladders = {name: ladder for name in dict.fromkeys(names) if (ladder := store.find_ladder(name)) is not None}
    runs: dict[int, Run] = {}
    labels: dict[int, str] = {}
    for name in names:
        if name in ladders:
            if store.find_run(name) is not None:
                raise UsageError(f"{name} is both a run and a ladder: give the run's number, or rename one")
            for number, label in _members(ladders[name], tuple(ladders.values())):
                labels.setdefault(number, label)
                runs.setdefault(number, store.run(str(number)))
        else:
            run = _run(store, name)
            if run.number in runs and run.number not in labels:
                raise UsageError(f"run {run.number} ({run.name}) is given twice: name each run once")
            runs.setdefault(run.number, run)
    kept = _meeting(store, list(runs.values()), where)
    numbers = {run.number for run in kept}
    return Selection(kept, tuple((number, label) for number, label in labels.items() if number in numbers))


def _meeting(store: Store, runs: Sequence[Run], where: Sequence[Condition]) -> tuple[Run, ...]:
    """Those of the runs that meet the conditions; measurements are read only for conditions on them."""
    measured = [condition for condition in where if condition.is_measured]
    kept = [run for run in runs if meets(run, [condition for condition in where if not condition.is_measured])]
    if not measured:
        return tuple(kept)
    results = store.results_of([run.number for run in kept])
    return tuple(result.run for result in results if meets(result.run, measured, result))


def _run(store: Store, name: str) -> Run:
    try:
        return store.run(name)
    except UnknownRunError as error:
        known = store.ladder_names()
        if not known or name.isdecimal():
            raise
        raise UnknownRunError(f"{error}; ladders: {', '.join(known)}") from None


def ladder_called(store: Store, name: str) -> Ladder:
    """The ladder of that name. Raises `UsageError`, which names those there are."""
    found = store.find_ladder(name)
    if found is None:
        known = ", ".join(store.ladder_names()) or "none yet"
        raise UsageError(f"no ladder is named {name!r}; ladders: {known}")
    return found


def members_of(ladder: Ladder) -> list[tuple[str, int]]:
    """(arm's name, run's number), in the order of the arms as they are listed, whatever was trained first."""
    return sorted(ladder.arms, key=lambda member: place_of(member[0]))


def _members(ladder: Ladder, selected: Sequence[Ladder]) -> Iterator[tuple[int, str]]:
    """(run's number, arm's label); the label says which of the selected ladders it is of: in a sweep, by the target."""
    is_sweep = len({one.target_batch_size for one in selected}) == len(selected)
    is_sweep &= len({digest_of(one.baseline) for one in selected}) == 1
    for name, number in members_of(ladder):
        arm = find_arm(name)
        label = name if arm is None else arm.label
        if len(selected) > 1 and not is_sweep:
            label = f"{ladder.name} {label}"
        elif len(selected) > 1 and (arm is None or arm.request is not None):
            label = f"{label} {ladder.target_batch_size}"
        yield number, label


def compare_selection(store: Store, selection: Selection, columns: Sequence[Column] = ()) -> Comparison:
    """The selected runs side by side; also at the furthest updates and examples that all of them reached.

    With `columns` there are those metrics only. Raises `UsageError` for fewer than two runs.
    """
    numbers = [run.number for run in selection.runs]
    results = store.results_of(numbers)
    if columns:
        positions: Sequence[Position] = tuple(
            dict.fromkeys(column.where for column in columns if isinstance(column.where, Position))
        )
    else:
        positions = shared_positions(results)
    standings = store.standings_of(numbers, positions)
    return compare_runs(results, labels=selection.labels, standings=standings, columns=columns)
