"""What each way to use the larger batch costs and gains, side by side."""

from dataclasses import dataclass, replace

from lbadvisor.plan import betas, rules
from lbadvisor.plan.request import Request
from lbadvisor.plan.scaling import Scaling, scaling_of
from lbadvisor.recipe.parts import Part


@dataclass(frozen=True, slots=True)
class Option:
    """One way to train with the target batch, or the baseline itself.

    `updates`, `epochs`, `examples` and `lr` are None if the baseline's are unknown; the `_factor` fields are
    relative to the baseline. `diffusion` is `Scaling.diffusion`, the summed variance of the weight increments relative
    to the baseline (Hoffer et al. 2017, arXiv:1705.08741: what has to be conserved); None if there is no formula.
    `beta1` and `beta2` are None for an optimizer without them.
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
    diffusion: float | None
    chosen: bool
    beta1: float | None = None
    beta2: float | None = None


def forecast(scaling: Scaling) -> tuple[Option, ...]:
    """The baseline, the published ways to use the target batch, and the requested one, with their costs."""
    baseline = scaling.baseline
    start = scaling_of(baseline, Request(baseline.batch_size, ()))
    ways = [(name, scaling_of(baseline, request)) for name, request in _published(scaling)]
    if _way(scaling) not in [_way(way) for _, way in ways]:
        ways.append((_name(scaling), scaling))
    return (
        replace(_option("baseline", start, chosen=False), rule="baseline"),
        *(_option(name, way, chosen=_way(way) == _way(scaling)) for name, way in ways),
    )


def _published(scaling: Scaling) -> list[tuple[str, Request]]:
    """Each way's name and request."""
    target = scaling.request.target_batch_size
    lr: tuple[Part, ...] = ("lr",)
    nothing, square_root = Request(target, ()), Request(target, lr, rules.SQRT)
    with_regime: tuple[Part, ...] = ("lr", "regime")
    if scaling.optimizer.divides_by == "nothing":
        return [
            ("nothing adapted", nothing),
            ("square root, fixed epochs", square_root),
            ("square root and regime (the paper)", replace(square_root, parts=with_regime)),
            ("linear, fixed epochs (Goyal)", replace(square_root, lr_rule=rules.LINEAR)),
            ("linear and regime", replace(square_root, parts=with_regime, lr_rule=rules.LINEAR)),
        ]
    if not betas.betas_of(scaling.baseline):
        return [
            ("nothing adapted", nothing),
            ("square root, fixed epochs", square_root),
            ("square root and regime", replace(square_root, parts=with_regime)),
        ]
    ways = [
        ("nothing adapted", nothing),
        ("square root, betas scaled (Malladi)", replace(square_root, betas="sde")),
        ("square root, beta2's half-life (Marek)", replace(square_root, betas="half-life")),
        ("square root, betas kept", replace(square_root, betas="keep")),
        ("square root and regime", replace(square_root, parts=with_regime, betas=scaling.betas)),
        ("learning rate kept, regime", Request(target, ("regime",))),
    ]
    if betas.largest_target(scaling.baseline, 0) < target:
        del ways[1]
    return ways


def _way(scaling: Scaling) -> tuple[object, ...]:
    """What distinguishes the ways: the rules, the length, and whether anything is adapted."""
    request = scaling.request
    adapts_lr = "lr" in request.parts
    return (
        bool(request.parts),
        request.lr_rule if adapts_lr else rules.NO_RULE,
        scaling.betas if adapts_lr and betas.betas_of(scaling.baseline) else "keep",
        request.stretch_share if "regime" in request.parts else None,
        request.noise,
    )


def _name(scaling: Scaling) -> str:
    _, rule, applied, share, noise = _way(scaling)
    words = ["learning rate kept" if rule is rules.NO_RULE else getattr(rule, "name", "")]
    words += [f"betas {applied}"] if applied != "keep" else []
    words += ["noise"] if noise else []
    length = "fixed epochs" if share is None else "regime" if share == 1 else f"{share:g} of the stretch"
    return ", ".join([*words, length])


def _option(name: str, scaling: Scaling, *, chosen: bool) -> Option:
    baseline, request = scaling.baseline, scaling.request
    updates = None if baseline.updates is None else scaling.lengths(baseline.updates)[1]
    epochs_factor = scaling.updates_factor * scaling.batch_ratio
    adapted = {
        beta: betas.adapted_beta(beta, before, scaling.batch_ratio, scaling.betas)
        for beta, before in betas.betas_of(baseline).items()
    }
    return Option(
        rule=request.lr_rule.name if "lr" in request.parts else rules.NO_RULE.name,
        regime="regime" in request.parts,
        name=name,
        lr=None if baseline.lr is None else baseline.lr * scaling.lr_factor,
        updates=updates,
        epochs=None if baseline.epochs is None else baseline.epochs * epochs_factor,
        examples=None if updates is None else updates * request.target_batch_size,
        lr_factor=scaling.lr_factor,
        updates_factor=scaling.updates_factor,
        epochs_factor=epochs_factor,
        diffusion=scaling.diffusion,
        chosen=chosen,
        beta1=adapted.get("beta1"),
        beta2=adapted.get("beta2"),
    )
