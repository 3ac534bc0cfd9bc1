"""The one table of what can be measured. All that names, formats, compares, draws or stores a quantity reads it.

A new one takes a row here and the code that measures it. One of `QUANTITIES`, which every measurement has, also takes
a field of `Measurement` and a migration of `measurements`; one of `READINGS` is measured if the recipe asks for it.
"""

from dataclasses import dataclass
from enum import StrEnum

from lbadvisor.recipe.recipe_tables import AlsoMeasured
from lbadvisor.records.axis import Axis


class Better(StrEnum):
    """Which direction of a number is the good one."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Drawing:
    """How a quantity is drawn; `note` continues its explanation.

    Values over decades get a logarithmic axis, unless `logarithmic_values` forbids it; else their axis begins at 0, if
    `from_zero`. `logarithmic_axis`: always over a logarithmic axis of updates. `if_any`: only if some value is not 0.
    """

    title: str
    note: str = ""
    from_zero: bool = True
    logarithmic_values: bool = True
    logarithmic_axis: bool = False
    if_any: bool = False


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number that a measurement has, or, unless an evaluation was due, None if it is `evaluated`.

    `key` is its field in `Measurement` and its column in the database; `label` is what readers and users call it,
    `alias` another word that users may write. A comparison calls it `name` (default: its key) and that of a whole run
    `run_name` (default: its name). It shows the value times `factor` in `unit` and `format`, that of a whole run in
    `run_format`. `axis` is what it is a clock of. `whole`: an integer. `always_finite`: every run has it, and none
    as nan. `rank` says how soon a narrow table of measurements leaves it out: 0 is never; None is not in that table.
    `also` is what a recipe's `measurements.also` must name to have it measured; None: it always is.
    """

    key: str
    label: str
    unit: str
    format: str
    explanation: str
    better: Better = Better.NEITHER
    axis: Axis | None = None
    evaluated: bool = False
    whole: bool = False
    always_finite: bool = False
    rank: int | None = None
    factor: float = 1.0
    alias: str = ""
    name: str = ""
    run_name: str = ""
    run_format: str = ""
    also: AlsoMeasured | None = None
    drawing: Drawing | None = None

    def __post_init__(self) -> None:
        for field, default in (("name", self.key), ("run_name", self.name or self.key), ("run_format", self.format)):
            object.__setattr__(self, field, getattr(self, field) or default)

    @property
    def heading(self) -> str:
        """Its label in a table; of the units only percent is told."""
        return self.label + self.percent

    @property
    def percent(self) -> str:
        """What follows its label if it is a percentage."""
        return ", %" if self.unit == "%" else ""


ACCURACY = Quantity(
    "evaluation_accuracy_percent", "accuracy", "%", ",.2f",
    "Share of the evaluation examples that are right; of tokens, the share of those",
    better=Better.HIGHER, evaluated=True, rank=0, name="accuracy_percent", run_name="final_accuracy_percent",
    drawing=Drawing("Evaluation accuracy", from_zero=False),
)  # fmt: skip
"""Every evaluation gives it: a measurement without it was not evaluated."""

EVALUATION_LOSS = Quantity(
    "evaluation_loss", "evaluation loss", "", ",.4f",
    "Mean loss on the evaluation examples; a cross-entropy is in nats",
    better=Better.LOWER, evaluated=True, rank=3, run_name="final_evaluation_loss",
)  # fmt: skip

LOSS = Quantity(
    "loss", "training loss", "", ",.4f",
    "Mean over the updates since the measurement before; a cross-entropy is in nats",
    better=Better.LOWER, rank=0, run_name="final_training_loss", drawing=Drawing("Training loss"),
)  # fmt: skip

GRADIENT_NORM = Quantity(
    "gradient_norm", "gradient norm", "", ",.3g", "Global L2 norm of the gradient, before clipping",
    rank=2, drawing=Drawing("Gradient norm"),
)  # fmt: skip

CLIPPED_SHARE = Quantity(
    "clipped_share", "clipped updates", "%", ",.0f", "Share of the updates whose gradient was clipped",
    rank=4, factor=100.0, alias="clipped", name="clipped_percent", run_format=",.2f",
    drawing=Drawing("Clipped updates", if_any=True),
)  # fmt: skip
"""That of a whole run is the share of all its updates, and not what was measured last."""

LEARNING_RATE = Quantity(
    "lr", "learning rate", "", ",.6g", "As the schedule gives it to this update",
    rank=1, drawing=Drawing("Learning rate"),
)  # fmt: skip

_STRAIGHT = (
    ", always over a logarithmic axis: a line that is straight there grows as log t, as in the paper's Figure 2 "
    "(Hoffer et al. 2017, arXiv:1705.08741)"
)
# On two logarithmic axes what grows as log t would not be straight.
WEIGHT_DISTANCE = Quantity(
    "weight_distance", "weight distance", "", ",.2f", "L2 norm of w_t - w_0", rank=5,
    drawing=Drawing("Weight distance", _STRAIGHT, logarithmic_values=False, logarithmic_axis=True),
)  # fmt: skip

UPDATE = Quantity(
    "update", "updates", "updates", ",.0f", "Counted from 1",
    axis=Axis.UPDATE, whole=True, always_finite=True, rank=0, run_name="updates",
)  # fmt: skip

EPOCH = Quantity(
    "epoch", "epochs", "epochs", ",.2f", "Passes over the training examples so far",
    better=Better.LOWER, axis=Axis.EPOCH, rank=0, run_name="epochs", run_format=",.1f",
)  # fmt: skip

EXAMPLES = Quantity(
    "examples", "examples", "examples", ",.0f", "Training examples seen so far",
    better=Better.LOWER, axis=Axis.EXAMPLE, whole=True, always_finite=True,
)  # fmt: skip

SECONDS = Quantity(
    "seconds", "seconds", "seconds", ",.1f", "Training time since the run started, without stops",
    better=Better.LOWER, axis=Axis.SECOND, rank=6,
)  # fmt: skip

GROUP_DISTANCE = Quantity(
    "group_distance", "weight distance of a layer group", "", ",.2f", "L2 norm of w_t - w_0 over one group of layers",
    also="layers",
)  # fmt: skip

GROUP_NORM = Quantity(
    "group_norm", "weight norm of a layer group", "", ",.2f", "L2 norm of w_t over one group of layers",
    also="layers",
)  # fmt: skip

GRADIENT_SQUARE = Quantity(
    "gradient_square", "squared mean gradient", "", ",.3g",
    "Unbiased estimate of |g|^2, the squared norm of the mean gradient", also="noise",
)  # fmt: skip
"""A noise scale is a ratio of means of this and the next, never a mean of ratios: of one reading it can be below 0."""

GRADIENT_VARIANCE = Quantity(
    "gradient_variance", "gradient variance", "", ",.3g",
    "Unbiased estimate of tr S, the trace of the covariance S of one example's gradient", also="noise",
)  # fmt: skip

METRIC = Quantity("metric", "metric", "", ",.6g", "What task.metric gives of an evaluation")

QUANTITIES = (
    ACCURACY, EVALUATION_LOSS, LOSS, GRADIENT_NORM, CLIPPED_SHARE, LEARNING_RATE, WEIGHT_DISTANCE, UPDATE, EPOCH,
    EXAMPLES, SECONDS,
)  # fmt: skip
"""Those of every measurement, in the order in which they are told and drawn."""

READINGS = (GROUP_DISTANCE, GROUP_NORM, GRADIENT_SQUARE, GRADIENT_VARIANCE, METRIC)
"""What is measured, at the same updates, only if the recipe asks for it; a reading is of one of them."""

BY_KEY = {quantity.key: quantity for quantity in QUANTITIES}
READINGS_BY_KEY = {quantity.key: quantity for quantity in READINGS}
EVALUATED = tuple(quantity for quantity in QUANTITIES if quantity.evaluated)
RATED = tuple(quantity for quantity in EVALUATED if quantity.better is not Better.NEITHER)
"""Those of which a run has a best value."""
DRAWN = tuple(quantity for quantity in QUANTITIES if quantity.drawing is not None)
CLOCKS = {quantity.axis: quantity for quantity in QUANTITIES if quantity.axis is not None}
"""The clock of each axis; none of them ever falls from one update to the next."""
