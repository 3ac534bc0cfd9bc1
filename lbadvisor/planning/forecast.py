"""What each way to use the larger batch costs and gains, side by side."""

import math
from dataclasses import dataclass, replace

from lbadvisor.planning import betas, rules
from lbadvisor.planning.noise_scale import NoiseScale, gain, predicted_stretch, surge_factor
from lbadvisor.planning.request import Request
from lbadvisor.planning.scaling import Scaling, scaling_of
from lbadvisor.planning.update_time import Ranged
from lbadvisor.recipe.parts import Part


@dataclass(frozen=True, slots=True)
class Option:
    """One way to train with the target batch, or the baseline itself.

    `updates`, `epochs`, `examples` and `lr` are None if the baseline's are unknown; the `_factor` fields are
    relative to the baseline. `diffusion` is `Scaling.diffusion`, the summed variance of the weight increments relative
    to the baseline (Hoffer et al. 2017, arXiv:1705.08741: what has to be conserved); None if there is no formula.
    `beta1` and `beta2` are None for an optimizer without them. `seconds` are those of the updates on one device, None
    if the time of an update is not known. The ends of 95% intervals, `_low` and `_high`, are None if nothing that the
    number rests on has one.
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
    epochs_factor_low: float | None = None
    epochs_factor_high: float | None = None
    seconds: float | None = None
    seconds_low: float | None = None
    seconds_high: float | None = None
    seconds_factor: float | None = None
    seconds_factor_low: float | None = None
    seconds_factor_high: float | None = None


def forecast(scaling: Scaling) -> tuple[Option, ...]:
    """The baseline, the published ways to use the target batch, and the requested one, with their costs."""
    baseline, known = scaling.baseline, scaling.request.known
    start = scaling_of(baseline, Request(baseline.batch_size, (), known=known))
    ways = [(name, scaling_of(baseline, replace(request, known=known))) for name, request in _published(scaling)]
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
    regime = replace(square_root, parts=with_regime, betas=scaling.betas)
    # Half the stretch is longer than the unchanged epochs only from a ratio of 2 on.
    between = [("square root, half the stretch", replace(regime, stretch_share=0.5))] if scaling.batch_ratio > 2 else []
    if scaling.request.known.noise_scale is not None and scaling.batch_ratio > 1:
        between.insert(0, (BY_NOISE_SCALE, _by_noise_scale(scaling, scaling.request.known.noise_scale, regime)))
    if scaling.optimizer.divides_by == "nothing":
        return [
            ("nothing adapted", nothing),
            ("square root, fixed epochs", square_root),
            *between,
            ("square root and regime (the paper)", regime),
            ("linear, fixed epochs (Goyal)", replace(square_root, lr_rule=rules.LINEAR)),
            ("linear and regime", replace(regime, lr_rule=rules.LINEAR)),
        ]
    if not betas.betas_of(scaling.baseline):
        return [
            ("nothing adapted", nothing),
            ("square root, fixed epochs", square_root),
            *between,
            ("square root and regime", regime),
        ]
    ways = [
        ("nothing adapted", nothing),
        ("square root, betas scaled (Malladi)", replace(square_root, betas="sde")),
        ("square root, beta2's half-life (Marek)", replace(square_root, betas="half-life")),
        ("square root, betas kept", replace(square_root, betas="keep")),
        *between,
        ("square root and regime", regime),
        ("learning rate kept, regime", Request(target, ("regime",))),
    ]
    if betas.largest_target(scaling.baseline, 0) < target:
        del ways[1]
    return ways


BY_NOISE_SCALE = "by the noise scale"


def _by_noise_scale(scaling: Scaling, noise_scale: NoiseScale, regime: Request) -> Request:
    """As much progress as the baseline's at the learning rate that is best there: 1/G as many updates.

    SGD's best rate grows by the gain G itself (McCandlish et al. 2018, arXiv:1812.06162); that of Adam and RMSprop by
    the surge's curve (Li et al. 2024, arXiv:2405.14578), which falls above B_n; Adagrad's follows the square root.
    """
    small, large, examples = scaling.baseline.batch_size, regime.target_batch_size, noise_scale.examples
    gained = gain(examples, small, large)
    factor = {
        "nothing": gained,
        "average": surge_factor(large, examples) / surge_factor(small, examples) if 0 < examples < math.inf else None,
    }.get(scaling.optimizer.divides_by)
    rule = rules.rule_of_exponent(math.log(factor, scaling.batch_ratio)) if factor else rules.SQRT
    return replace(regime, lr_rule=rule, stretch_share=1 / gained)


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
    option = Option(
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
    return _timed(option, scaling)


def _timed(option: Option, scaling: Scaling) -> Option:
    """The option with what is known of its time, and the intervals of its length and time."""
    known, small, large = scaling.request.known, scaling.baseline.batch_size, scaling.request.target_batch_size
    # How the number of updates may differ from the predicted one, as factors of it.
    length = Ranged(1.0, 1.0, 1.0)
    if option.name == BY_NOISE_SCALE and known.noise_scale is not None:
        found = predicted_stretch(known.noise_scale, small, large)
        if found.low is not None and found.high is not None:
            length = Ranged(1.0, found.low / found.value, found.high / found.value)
    low, high = length.scaled(option.epochs_factor).ends
    option = replace(option, epochs_factor_low=low, epochs_factor_high=high)
    if known.update_time is None:
        return option
    update, start = known.update_time.at(large), known.update_time.at(small)
    relative = length.scaled(option.updates_factor)
    # A ratio to itself is exact.
    relative = relative if large == small else relative.times(update).over(start)
    low, high = relative.ends
    option = replace(option, seconds_factor=relative.middle, seconds_factor_low=low, seconds_factor_high=high)
    if option.updates is None:
        return option
    seconds = update.times(length).scaled(option.updates)
    low, high = seconds.ends
    return replace(option, seconds=seconds.middle, seconds_low=low, seconds_high=high)
