"""What each way to use the larger batch costs and gives, side by side."""

from dataclasses import dataclass

from lbadvisor.advisor import rules
from lbadvisor.advisor.adjustments import Request
from lbadvisor.advisor.baseline import Baseline
from lbadvisor.advisor.rules import LrRule


@dataclass(frozen=True, slots=True)
class Option:
    """One way to train with the target batch, or the baseline itself.

    `updates`, `epochs`, `examples` and `lr` are None where the baseline's are not known; the `_factor` fields are
    relative to the baseline. `diffusion` is T lr^2/B, the summed variance of the weight increments, relative to the
    baseline (Hoffer et al. 2017, arXiv:1705.08741: what has to be conserved).
    """

    rule: str
    regime: bool
    name: str
    lr: float | None
    updates: int | None
    epochs: float | None
    examples: int | None
    lr_factor: float
    updates_factor: float
    epochs_factor: float
    diffusion: float
    chosen: bool


def forecast(baseline: Baseline, request: Request) -> tuple[Option, ...]:
    """The baseline, the paper's and Goyal's ways to use the target batch, and the requested one, with their price."""
    chosen = (request.lr_rule if "lr" in request.parts else rules.NO_RULE, "regime" in request.parts)
    ways: list[tuple[str, LrRule, bool]] = [
        ("nothing adapted", rules.NO_RULE, False),
        ("square root, fixed epochs", rules.SQRT, False),
        ("square root and regime (the paper)", rules.SQRT, True),
        ("linear, fixed epochs (Goyal)", rules.LINEAR, False),
        ("linear and regime", rules.LINEAR, True),
    ]
    if chosen not in [(rule, regime) for _, rule, regime in ways]:
        ways.append((f"{chosen[0].name}, {'regime' if chosen[1] else 'fixed epochs'}", *chosen))
    start = _option(baseline, "baseline", "baseline", 1.0, 1.0, baseline.batch_size, regime=False, chosen=False)
    return (
        start,
        *(
            _option(
                baseline, rule.name, name,
                rules.lr_factor(rule, baseline.batch_size, request.target_batch_size, baseline.examples),
                1.0 if regime else baseline.batch_size / request.target_batch_size,
                request.target_batch_size, regime=regime, chosen=(rule, regime) == chosen,
            )
            for name, rule, regime in ways
        ),
    )  # fmt: skip


def _option(
    baseline: Baseline,
    rule: str,
    name: str,
    lr_factor: float,
    updates_factor: float,
    batch_size: int,
    *,
    regime: bool,
    chosen: bool,
) -> Option:
    ratio = batch_size / baseline.batch_size
    updates = None if baseline.updates is None else max(1, round(baseline.updates * updates_factor))
    epochs_factor = updates_factor * ratio
    return Option(
        rule=rule,
        regime=regime,
        name=name,
        lr=None if baseline.lr is None else baseline.lr * lr_factor,
        updates=updates,
        epochs=None if baseline.epochs is None else baseline.epochs * epochs_factor,
        examples=None if updates is None else updates * batch_size,
        lr_factor=lr_factor,
        updates_factor=updates_factor,
        epochs_factor=epochs_factor,
        diffusion=updates_factor * lr_factor**2 / ratio,
        chosen=chosen,
    )
