"""The numbers of a comparison: one of each run, and their spread in each group."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lbadvisor.comparison.comparison import Metric, Position, RunResult, Standing
from lbadvisor.comparison.groups import Members, spread
from lbadvisor.comparison.results import finite, value_of
from lbadvisor.recipe.recipe import Recipe, metric_name
from lbadvisor.records.quantities import (
    ACCURACY,
    CLIPPED_SHARE,
    CLOCKS,
    LOSS,
    METRIC,
    RATED,
    UPDATE,
    WEIGHT_DISTANCE,
    Better,
    Quantity,
)
from lbadvisor.records.run import RunStatus


@dataclass(frozen=True, slots=True)
class Column:
    """A requested number: of which `quantity`, and where in a run it is read.

    `where` is "last" (of the clipped share: over the whole run), "best", "update of best", "test" (accuracy alone: on
    the test set, of a run that held out validation examples), or a position, which is `shared` if it is the furthest
    that all runs reached.
    """

    quantity: Quantity
    where: str | Position
    shared: bool = False

    @property
    def name(self) -> str:
        """Its name in JSON and CSV."""
        name = self.quantity.name
        if isinstance(self.where, Position):
            unit = CLOCKS[self.where.axis].unit
            return f"{name}_at_equal_{unit}" if self.shared else f"{name}_at_{self.where.value:.15g}_{unit}"
        if self.where == "update of best":
            return f"best_{name.removesuffix('_percent')}_update"
        return self.quantity.run_name if self.where == "last" else f"{self.where}_{name}"

    @property
    def label(self) -> str:
        """Its name in a table."""
        if isinstance(self.where, Position):
            place, unit = f"{self.where.value:,.15g}", CLOCKS[self.where.axis].unit
            at = f"equal {unit} ({place})" if self.shared else f"{place} {unit}"
            return f"{self.quantity.label} at {at}{self.quantity.percent}"
        if self.where == "update of best":
            return f"update of best {self.quantity.label.removeprefix('evaluation ')}"
        return self.quantity.heading if self.where == "last" else f"{self.where} {self.quantity.heading}"

    @property
    def better(self) -> Better:
        """Which direction is the good one."""
        return Better.NEITHER if self.where == "update of best" else self.quantity.better

    @property
    def form(self) -> str:
        """The format that its numbers are shown in."""
        if self.where == "update of best":
            return UPDATE.format
        return self.quantity.run_format if self.where == "last" else self.quantity.format


TEST_ACCURACY = Column(ACCURACY, "test")
DEFAULT_COLUMNS = (
    *(Column(quantity, where) for quantity in RATED for where in ("last", "best", "update of best")),
    *(Column(quantity, "last") for quantity in (LOSS, WEIGHT_DISTANCE, *CLOCKS.values(), CLIPPED_SHARE)),
)
"""What is compared by default."""


def metric_column(recipes: Sequence[Recipe]) -> Column | None:
    """The user's own metric, by its name, of runs that have one and the same; None without, or of several."""
    found = {(metric_name(recipe), recipe.task.metric.better) for recipe in recipes if recipe.task.metric is not None}
    if len(found) != 1:
        return None
    name, better = found.pop()
    return Column(replace(METRIC, label=name, better=Better(better)), "last")


def metrics_of(
    members: Sequence[Members], standings: Sequence[Standing], columns: Sequence[Column]
) -> tuple[Metric, ...]:
    """Each column's number of every run in the order of the groups; `standings` are in that order, too.

    A run that diverged is in no spread and no difference: its last numbers are no result, and it has no others. Raises
    `ValueError` if a column's position is in no standing.
    """
    results = [result for _, runs in members for result in runs]
    at = {standing.position: standing for standing in standings}
    return tuple(_metric(column, members, results, at) for column in columns)


def _metric(
    column: Column, members: Sequence[Members], results: Sequence[RunResult], at: dict[Position, Standing]
) -> Metric:
    if isinstance(column.where, Position):
        if column.where not in at:
            raise ValueError(f"nothing is known of the runs at {column.where}")
        values = [_at(column, at[column.where], place) for place in range(len(results))]
    else:
        values = [value_in(column, result) for result in results]
    counted = [
        None if result.run.status is RunStatus.DIVERGED else v for v, result in zip(values, results, strict=True)
    ]
    ends = [len(runs) for _, runs in members]
    starts = [sum(ends[:i]) for i in range(len(ends))]
    base = spread(counted[: ends[0]])
    of_seed = {result.run.seed: v for result, v in zip(results[: ends[0]], counted, strict=False) if v is not None}

    def difference(value: float | None, seed: int) -> float | None:
        against = of_seed.get(seed, None if base is None else base.mean)
        return None if value is None or against is None else value - against

    return Metric(
        name=column.name,
        label=column.label,
        better=column.better,
        form=column.form,
        values=tuple(values),
        differences=tuple(difference(v, result.run.seed) for v, result in zip(counted, results, strict=True)),
        spreads=tuple(spread(counted[start : start + n]) for start, n in zip(starts, ends, strict=True)),
    )


def _at(column: Column, standing: Standing, place: int) -> float | None:
    measurements = standing.evaluated if column.quantity.evaluated else standing.measured
    return value_of(column.quantity, measurements[place])


def value_in(column: Column, result: RunResult) -> float | None:
    """The column's number of the run, None if it is not known; not for a column at a position."""
    quantity = column.quantity
    if column.where == "test":
        return finite(result.run.test_accuracy_percent)
    if column.where == "best":
        return value_of(quantity, result.best.get(quantity.key))
    if column.where == "update of best":
        return value_of(UPDATE, result.best.get(quantity.key))
    if quantity.key == METRIC.key:
        return finite(result.metric)
    if quantity is CLIPPED_SHARE:
        return finite(result.clipped_percent)
    return value_of(quantity, result.final if quantity.evaluated else result.last)
