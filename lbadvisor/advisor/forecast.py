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
    fixed = baseline.batch_size / request.target_batch_size
    share = request.stretch_share if "regime" in request.parts else None
    chosen = (request.lr_rule if "lr" in request.parts else rules.NO_RULE, share)
    ways: list[tuple[str, LrRule, float | None]] = [
        ("nothing adapted", rules.NO_RULE, None),
        ("square root, fixed epochs", rules.SQRT, None),
        ("square root and regime (the paper)", rules.SQRT, 1.0),
        ("linear, fixed epochs (Goyal)", rules.LINEAR, None),
        ("linear and regime", rules.LINEAR, 1.0),
    ]
    if chosen not in [(rule, share) for _, rule, share in ways]:
        length = "fixed epochs" if share is None else "regime" if share == 1 else f"{share:g} of the stretch"
        ways.append((f"{chosen[0].name}, {length}", *chosen))
    start = _option(baseline, "baseline", "baseline", 1.0, 1.0, baseline.batch_size, regime=False, chosen=False)
    return (
        start,
        *(
            _option(
                baseline, rule.name, name,
                rules.lr_factor(rule, baseline.batch_size, request.target_batch_size, baseline.examples),
                fixed if share is None else share, request.target_batch_size, regime=share is not None,
                chosen=(rule, share) == chosen,
            )
            for name, rule, share in ways
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
