"""A plan as a value: its lines, and what a training loop asks of it."""

from dataclasses import dataclass

from lbadvisor.errors import PlanError
from lbadvisor.planning.adjustments import RELATIVE, Adjustment, Value
from lbadvisor.planning.caveat import Caveat
from lbadvisor.planning.forecast import Option
from lbadvisor.planning.parameter_groups import HasParameterGroups, adapt
from lbadvisor.records.numerals import value_text


@dataclass(frozen=True, slots=True)
class GradientClipping:
    """Clipping to a global L2 norm of at most `max_norm` in the first `updates`; None: in all of them."""

    max_norm: float
    updates: int | None


@dataclass(frozen=True, slots=True, repr=False)
class NumbersPlan:
    """What a larger batch changes, each change with its reason, and what it costs: known from numbers alone.

    `optimizer` is the name of the baseline's, `examples` the size of the training set; None: not known. As text it is
    its lines, old -> new, with rule and source.
    """

    batch_ratio: float
    optimizer: str
    examples: int | None
    adjustments: tuple[Adjustment, ...]
    warnings: tuple[Caveat, ...]
    forecast: tuple[Option, ...]

    @property
    def batch_size(self) -> int:
        """The target batch size, in examples."""
        return int(self._number("batch.size"))

    @property
    def lr(self) -> float:
        """The learning rate after any warm-up and before any milestone. Raises `PlanError` if no baseline's is known.

        Hoffer et al. 2017 (arXiv:1705.08741) by default: the baseline's times sqrt(r).
        """
        return self._number("optimizer.lr", "lr=")

    @property
    def updates(self) -> int:
        """The length in updates. Raises `PlanError` if the baseline's is not known."""
        return int(self._number("schedule.updates", "updates=, or epochs= and examples="))

    @property
    def epochs(self) -> float:
        """The length in passes over the training examples. Raises `PlanError` if the baseline's is not known."""
        return self._number("schedule.epochs", "epochs=, or updates= and examples=")

    @property
    def ghost_batch_size(self) -> int | None:
        """Examples that share batch norm's training statistics; None: the whole batch, or no batch norm.

        By default the baseline's batch size, as in Hoffer et al. 2017 (arXiv:1705.08741), Algorithm 1.
        """
        ghost = self.line("batch_norm.ghost_batch_size")
        return None if ghost is None or ghost.after is None else int(self._number(ghost.field))

    @property
    def clipping(self) -> GradientClipping | None:
        """The clipping warm-up, or the baseline's own clipping; None: no update is clipped.

        `max_norm` is of the gradient's global L2 norm, `updates` counts from the first. Hoffer et al. 2017
        (arXiv:1705.08741) clip at the start, and give neither number: the lines say where these are from. Raises
        `PlanError` if its length is not known.
        """
        if self.line("clipping.max_norm") is None:
            return None
        length = None
        if self.line("clipping.updates") is not None:
            length = int(self._number("clipping.updates", "updates= (or epochs=) and examples="))
        return GradientClipping(self._number("clipping.max_norm"), length)

    @property
    def settings(self) -> dict[str, Value]:
        """The known settings of the training at the target batch size, for `lbadvisor.record`.

        They are fields of a recipe; add what else you know, as in `plan.settings | {"data": "digits"}`. A plan of a
        recipe has them all in `plan.adapted`.
        """
        known = [line for line in self.adjustments if line.kind == "recipe" and line.unit != RELATIVE]
        return {line.field: line.after for line in known} | {"optimizer": self.optimizer, "examples": self.examples}

    def apply(self, optimizer: HasParameterGroups) -> None:
        """Give every parameter group of `optimizer`, made for the baseline, its value at the target batch size.

        Learning rates and weight decays keep their ratios between groups; betas and epsilon become the plan's. Apply
        it once, before a scheduler is made. Raises `PlanError` for an optimizer of another kind or with other numbers
        than the baseline's, and `RefusedError` if a plan was applied or a scheduler made before.
        """
        adapt(optimizer, self.optimizer, self.adjustments)

    def line(self, field: str) -> Adjustment | None:
        """The line of a field, by its dotted path in a recipe; None if the plan has none."""
        return next((line for line in self.adjustments if line.field == field), None)

    def _number(self, field: str, give: str = "") -> float:
        line = self.line(field)
        after = None if line is None or line.unit == RELATIVE else line.after
        if not isinstance(after, int | float):
            raise PlanError(f"the plan has no {field}, as the baseline's is not known: give {give}")
        return after

    def __str__(self) -> str:
        """The lines of the plan, and its warnings."""
        told = [line for line in self.adjustments if not (line.before is None and line.after is None)]
        lines = [
            f"{line.field}: {value_text(line.before, 'none')} -> {value_text(line.after, 'none')}"
            f"{f' {line.unit}' if line.unit else ''} ({line.rule}: {line.formula}; {line.source})"
            for line in told
        ]
        return "\n".join([*lines, *(f"warning {caveat.code}: {caveat.message}" for caveat in self.warnings)])

    __repr__ = __str__
