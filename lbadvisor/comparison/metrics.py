"""The numbers of a comparison: one of each run, and their spread in each group."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lbadvisor.comparison.comparison import Better, Metric, Position, RunResult, Standing
from lbadvisor.comparison.groups import Members, spread
from lbadvisor.comparison.results import finite
from lbadvisor.records.axis import Axis
from lbadvisor.records.run import Measurement, RunStatus

UNITS = {Axis.UPDATE: "updates", Axis.EPOCH: "epochs", Axis.EXAMPLE: "examples", Axis.SECOND: "seconds"}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number that a measurement has: what users call it, its field, which direction is the good one."""

    word: str
    field: str
    label: str
    better: Better


QUANTITIES = (
    Quantity("accuracy", "evaluation_accuracy_percent", "accuracy, %", Better.HIGHER),
    Quantity("evaluation loss", "evaluation_loss", "evaluation loss", Better.LOWER),
    Quantity("training loss", "loss", "training loss", Better.LOWER),
    Quantity("gradient norm", "gradient_norm", "gradient norm", Better.NEITHER),
    Quantity("learning rate", "lr", "learning rate", Better.NEITHER),
    Quantity("weight distance", "weight_distance", "weight distance", Better.NEITHER),
    Quantity("updates", "update", "updates", Better.NEITHER),
    Quantity("epochs", "epoch", "epochs", Better.LOWER),
    Quantity("examples", "examples", "examples", Better.LOWER),
    Quantity("seconds", "seconds", "seconds", Better.LOWER),
)
ACCURACY, EVALUATION_LOSS = QUANTITIES[:2]


@dataclass(frozen=True, slots=True)
class Column:
    """A number that is asked for: of which `quantity`, and where in a run it is taken.

    `where` is "last", "best", "update of best", "test" (accuracy alone: on the test set, of a run that held out
    validation examples), or a position, which is `shared` where it is the furthest that all runs reached; of the
    clipped share, which is a whole run's, the quantity is None.
    """

    quantity: Quantity | None
    where: str | Position
    shared: bool = False

    @property
    def name(self) -> str:
        """Its name in JSON and CSV."""
        if self.quantity is None:
            return "clipped_percent"
        field = self.quantity.field.removeprefix("evaluation_") if self.quantity is ACCURACY else self.quantity.field
        if isinstance(self.where, Position) and self.shared:
            return f"{field}_at_equal_{UNITS[self.where.axis]}"
        if isinstance(self.where, Position):
            return f"{field}_at_{self.where.value:.15g}_{UNITS[self.where.axis]}"
        if self.where == "test":
            return f"test_{field}"
        if self.where == "update of best":
            return f"best_{field.removesuffix('_percent')}_update"
        if self.quantity.field in ("update", "epoch"):
            return f"{self.quantity.field}s"
        final = {"evaluation_accuracy_percent": "final_", "evaluation_loss": "final_", "loss": "final_training_"}
        return ("best_" if self.where == "best" else final.get(self.quantity.field, "")) + field

    @property
    def label(self) -> str:
        """Its name in a table."""
        if self.quantity is None:
            return "clipped updates, %"
        if isinstance(self.where, Position):
            unit = ", %" if self.quantity is ACCURACY else ""
            what = self.quantity.label.removesuffix(unit)
            place, axis = f"{self.where.value:,.15g}", UNITS[self.where.axis]
            return f"{what} at {f'equal {axis} ({place})' if self.shared else f'{place} {axis}'}{unit}"
        if self.where == "test":
            return f"test {self.quantity.label}"
        if self.where == "update of best":
            return f"update of best {'loss' if self.quantity is EVALUATION_LOSS else 'accuracy'}"
        return f"best {self.quantity.label}" if self.where == "best" else self.quantity.label

    @property
    def better(self) -> Better:
        """Which direction is the good one."""
        return Better.NEITHER if self.quantity is None or self.where == "update of best" else self.quantity.better


_LAST = tuple(Column(quantity, "last") for quantity in QUANTITIES)
TEST_ACCURACY = Column(ACCURACY, "test")
DEFAULT_COLUMNS = (
    _LAST[0],
    Column(ACCURACY, "best"),
    Column(ACCURACY, "update of best"),
    _LAST[1],
    Column(EVALUATION_LOSS, "best"),
    Column(EVALUATION_LOSS, "update of best"),
    _LAST[2],
    _LAST[5],
    *_LAST[6:],
    Column(None, "last"),
)
"""What is compared where no columns are asked for."""


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
        value_of = _taken(column)
        values = [value_of(result) for result in results]
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
        values=tuple(values),
        differences=tuple(difference(v, result.run.seed) for v, result in zip(counted, results, strict=True)),
        spreads=tuple(spread(counted[start : start + n]) for start, n in zip(starts, ends, strict=True)),
    )


def _at(column: Column, standing: Standing, place: int) -> float | None:
    evaluated = column.quantity in (ACCURACY, EVALUATION_LOSS)
    return _value(column.quantity, (standing.evaluated if evaluated else standing.measured)[place])


def _taken(column: Column) -> Callable[[RunResult], float | None]:
    quantity = column.quantity
    if quantity is None:
        return lambda result: finite(result.clipped_percent)

    def best(result: RunResult) -> Measurement | None:
        return result.best_loss if quantity is EVALUATION_LOSS else result.best

    if column.where == "test":
        return lambda result: finite(result.run.test_accuracy_percent)
    if column.where == "best":
        return lambda result: _value(quantity, best(result))
    if column.where == "update of best":
        return lambda result: None if (m := best(result)) is None else m.update
    evaluated = quantity in (ACCURACY, EVALUATION_LOSS)
    return lambda result: _value(quantity, result.final if evaluated else result.last)


def _value(quantity: Quantity | None, measurement: Measurement | None) -> float | None:
    if quantity is None or measurement is None:
        return None
    value: float | None = getattr(measurement, quantity.field)
    return finite(value)
