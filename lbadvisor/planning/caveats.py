"""The advisor's warnings: each caveat has a trigger, and is shown only if it applies."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from lbadvisor.planning import betas, rules, weight_decay
from lbadvisor.planning.baseline import Baseline, baseline_of
from lbadvisor.planning.batch_norm_caveats import of_ghost_batches, of_ghosts
from lbadvisor.planning.caveat import Caveat
from lbadvisor.planning.measured_caveats import of_noise_scale, of_stability
from lbadvisor.planning.scaling import Scaling

if TYPE_CHECKING:
    from lbadvisor.recipe.recipe import Recipe

FEW_UPDATES_PER_EPOCH = 50
FINITE_POPULATION_SHARE = 0.01
HORIZON_SHARE = 0.01
FEWEST_DECADES = 2
"""Of updates, to tell a logarithm from other laws of growth."""


def caveats(scaling: Scaling) -> tuple[Caveat, ...]:
    """The warnings that apply to this plan, and no others."""
    if scaling.batch_ratio == 1:
        return tuple(_of_rounding(scaling))
    of_the_optimizer = _of_sgd if scaling.optimizer.divides_by == "nothing" else _of_adaptive_optimizers
    sources = (
        _of_price, _of_distances, of_the_optimizer, _of_weight_decay, _of_regularization, of_ghosts, of_noise_scale,
    )  # fmt: skip
    return (
        *(caveat for source in sources for caveat in source(scaling)),
        *_of_the_sample(scaling.baseline.examples, scaling.request.target_batch_size),
        *_of_rounding(scaling),
    )


def caveats_of_adapted(recipe: "Recipe") -> tuple[Caveat, ...]:
    """The warnings that an adapted recipe's own numbers tell, without its baseline; none for any other recipe."""
    adapted_from, target = recipe.adapted_from, baseline_of(recipe)
    if adapted_from is None or target.batch_size == adapted_from.batch_size:
        return ()
    regime = _of_regime(target.batch_size / adapted_from.batch_size, adapted_from.stretch_share)
    ghosts = of_ghost_batches(target, target.batch_size, target.ghost_batch_size)
    return (
        *(regime if "regime" in adapted_from.parts else ()),
        *(of_distance_signal(target) if recipe.schedule.is_by_distance else ()),
        *(ghosts if "ghost" in adapted_from.parts else ()),
        *_of_the_sample(target.examples, target.batch_size),
    )


def _of_price(scaling: Scaling) -> Iterator[Caveat]:
    if "regime" in scaling.request.parts:
        yield from _of_regime(scaling.batch_ratio, scaling.request.stretch_share)


def _of_regime(ratio: float, share: float) -> Iterator[Caveat]:
    if share == 1:
        yield Caveat(
            "regime-price",
            f"regime adaptation processes {ratio:g} times as many examples and is no faster than the small batch: "
            "worth it only if you must use this batch, or if its updates are as fast",
        )
    else:
        yield Caveat(
            "regime-price",
            f"{share:g} of the stretch processes {ratio * share:g} times as many examples in {share:g} times as many "
            "updates: what fewer updates cost in accuracy is not known in advance",
        )


def _of_distances(scaling: Scaling) -> Iterator[Caveat]:
    baseline, asked = scaling.baseline, scaling.request.distances
    if asked is None:
        if any(distance is not None for distance in baseline.milestone_distances):
            yield from of_distance_signal(baseline)
        return
    yield from of_distance_signal(baseline)
    milestones = zip(baseline.milestones, asked.at_milestones, strict=True)
    without = [f"{update:.0f}" for update, distance in milestones if distance is None]
    if without:
        one = len(without) == 1
        yield Caveat(
            "drops-without-distance",
            f"in {asked.run} the weights hardly moved before the milestone{'' if one else 's'} at update "
            f"{', '.join(without)}: {'it has' if one else 'they have'} no distance, and {'comes' if one else 'come'} "
            "as many updates after the milestone before as in the baseline",
        )


def of_distance_signal(definition: Baseline) -> Iterator[Caveat]:
    """What limits the weight distance as the signal for a drop: a short run, and batch norm."""
    decades = math.log10(definition.milestones[0])
    if decades < FEWEST_DECADES:
        yield Caveat(
            "short-for-distance",
            f"the first milestone comes after {definition.milestones[0]:.0f} updates, or {decades:.2g} decades: that "
            "the weight distance grows as the logarithm of the updates can only be seen over about two",
        )
    if definition.has_batch_norm:
        yield Caveat(
            "distance-and-batch-norm",
            "batch norm makes the weights before it grow without any change of the function, and the weight distance "
            "with them: see whether the drops come when you expect them",
        )


def _of_sgd(scaling: Scaling) -> Iterator[Caveat]:
    """Findings that hold for SGD alone."""
    baseline, request = scaling.baseline, scaling.request
    square_root = request.lr_rule in (rules.SQRT, rules.FINITE_POPULATION)
    if "lr" in request.parts and "regime" not in request.parts and square_root:
        yield Caveat(
            "sqrt-without-regime",
            f"the square-root rule without the regime leaves {scaling.diffusion:.4g} of the baseline's diffusion; at "
            "fixed epochs the linear rule was better on ImageNet (23.74 against 26.22% error at 8k, Goyal et al. 2017)",
        )
    if scaling.adapts_lr and scaling.noise_ratio is not None:
        yield Caveat(
            "noise-and-learning-rate",
            f"multiplicative noise of ratio {scaling.noise_ratio:g} and the learning rate both compensate for the "
            "smaller noise of the larger batch; the paper uses one of them; --adapt regime,ghost,clip keeps the "
            "learning rate",
        )
    kept = baseline.warmup_updates is not None or baseline.clipping_norm is not None
    warms_up = kept or scaling.adds_clipping or request.warmup_epochs is not None
    if scaling.adapts_lr and request.lr_rule == rules.LINEAR and not warms_up:
        yield Caveat(
            "linear-without-warm-up",
            "the linear rule fails early in training without a warm-up (Goyal et al. 2017 use 5 epochs): "
            "set schedule.warmup_epochs, give --arm linear, or adapt clip",
        )
    if baseline.clipping_norm is not None and baseline.clipping_updates is None:
        yield Caveat(
            "clips-whole-run",
            f"the baseline clips at {baseline.clipping_norm:g} on every update, as the paper's released code does and "
            "the paper does not; this is kept, without adding a clipping warm-up",
        )
    yield from _of_finite_population(scaling)
    yield from of_stability(scaling)


def _of_finite_population(scaling: Scaling) -> Iterator[Caveat]:
    baseline, request = scaling.baseline, scaling.request
    examples, target = baseline.examples, request.target_batch_size
    if examples is None or target >= examples or "lr" not in request.parts or request.lr_rule != rules.SQRT:
        return
    exact = rules.lr_factor(rules.FINITE_POPULATION, baseline.batch_size, target, examples)
    plain = scaling.lr_factor
    if exact / plain - 1 > FINITE_POPULATION_SHARE:
        rates = (
            f"times {plain:.6g} becomes times {exact:.6g}"
            if baseline.lr is None
            else f"{baseline.lr * plain:.6g} becomes {baseline.lr * exact:.6g}"
        )
        yield Caveat(
            "finite-population",
            f"the batch is {target / examples:.1%} of the training examples; drawn without replacement, its noise "
            f"is smaller than the square-root rule assumes; to be exact, the learning rate {rates} "
            f"({exact / plain - 1:+.1%}): --lr-rule finite-population",
        )


def _of_adaptive_optimizers(scaling: Scaling) -> Iterator[Caveat]:
    baseline, request, name = scaling.baseline, scaling.request, scaling.baseline.optimizer
    if "lr" in request.parts and scaling.optimizer.divides_by == "sum":
        yield Caveat(
            "no-rule-for-optimizer",
            f"no rule for larger batches is published for {name}; the learning rate follows {request.lr_rule.name}, as "
            "with other optimizers; measure it (`lbadvisor calibrate`, `lbadvisor refine`)",
        )
    elif "lr" in request.parts:
        yield from _of_betas(scaling)
        if request.lr_rule in (rules.LINEAR, rules.FINITE_POPULATION):
            yield Caveat(
                f"{request.lr_rule.name}-with-adaptive",
                f"the {request.lr_rule.name} rule is SGD's: with {name} the square root keeps the update's statistics "
                f"({rules.MALLADI})",
            )
        if request.lr_rule == rules.SQRT and "regime" in request.parts:
            yield Caveat(
                "regime-with-adaptive",
                f"the square-root rule for {name} keeps the trajectory with 1/r as many updates ({rules.MALLADI}): "
                f"together with the regime, the paper's for SGD, diffusion is {scaling.diffusion:.4g} times the "
                "baseline's; --adapt lr,ghost is the rule alone, --adapt regime,ghost keeps the learning rate",
            )
    if "clip" in request.parts and baseline.clipping_norm is None:
        yield Caveat(
            "no-clipping-warm-up",
            f"{name} divides the gradient by its own size, so clipping hardly shortens a step: nothing is done; the "
            "paper's clipping warm-up is for SGD",
        )
    if request.noise is not None or baseline.noise_ratio is not None:
        yield Caveat(
            "noise-with-adaptive",
            f"multiplicative noise matches the gradient's statistics under SGD, but {name} divides it out again",
        )


def _of_betas(scaling: Scaling) -> Iterator[Caveat]:
    """Whether Malladi's rule is near its limit, and what is lost beyond it."""
    baseline, ratio = scaling.baseline, scaling.batch_ratio
    scaled = {name: betas.adapted_beta(name, beta, ratio, "sde") for name, beta in betas.betas_of(baseline).items()}
    if not scaled:
        return
    name, beta = min(scaled.items(), key=lambda item: item[1])
    if scaling.betas == "sde" and beta < betas.SHORT_AVERAGE:
        yield Caveat(
            "betas-near-limit",
            f"{name} becomes {beta:.3g}, an average over {1 / (1 - beta):.3g} updates, but the rule is derived for "
            f"averages over many ({rules.MALLADI}); up to a batch of "
            f"{betas.largest_target(baseline, betas.SHORT_AVERAGE)} it spans more than two; --betas half-life keeps "
            "beta1",
        )
    elif scaling.request.betas == "auto" and scaling.betas == "half-life":
        lost = f"beta1 averages {ratio:g} times as many examples as before, and " if baseline.beta1 else ""
        yield Caveat(
            "betas-beyond-sde",
            f"the rule that scales the betas with the learning rate would make {name} 1 - {ratio:g} (1 - "
            f"{betas.betas_of(baseline)[name]:g}) = {beta:.3g} ({rules.MALLADI}); instead beta2 keeps its half-life in "
            f"examples{' and beta1 is kept' if baseline.beta1 else ''} ({betas.MAREK}); {lost}the rule's promise of "
            "the same trajectory is lost, so tune the learning rate; --betas keep leaves them unchanged",
        )


def _of_weight_decay(scaling: Scaling) -> Iterator[Caveat]:
    baseline = scaling.baseline
    if not scaling.adapts_lr or scaling.decay == "horizon" or not weight_decay.has_horizon(baseline):
        return
    change = weight_decay.horizon_factor(baseline, scaling.batch_ratio, scaling.lr_factor, 1.0)
    span = "updates"
    if "regime" not in scaling.request.parts:
        change, span = change * scaling.batch_ratio, "examples"
    if abs(change - 1) > HORIZON_SHARE:
        paper = " (the paper does not)" if scaling.optimizer.divides_by == "nothing" else ""
        yield Caveat(
            "weight-decay-horizon",
            f"the weight decay is kept while the learning rate grows: its horizon "
            f"{weight_decay.horizon_rule(baseline).formula} becomes {change:.3g} times as long in {span}; "
            f"--weight-decay horizon keeps it{paper}",
        )


LESS_NOISE = 0.5
"""Share of the baseline's diffusion below which this project calls a batch's noise, which regularizes, clearly less."""


def _of_regularization(scaling: Scaling) -> Iterator[Caveat]:
    """Less noise of the batches regularizes less; what this plan does about it, which is nothing."""
    request, baseline = scaling.request, scaling.baseline
    if request.label_noise is not None:
        yield Caveat(
            "label-noise-no-substitute",
            f"label noise of {request.label_noise:g} regularizes, but is no substitute for the noise of small batches: "
            f"its structure differs, and it did not reduce the gap ({rules.HOFFER})",
        )
    adds = any(what is not None for what in (request.dropout, request.label_noise, request.drop_connect))
    if adds or scaling.decay_factor != 1 or scaling.diffusion is None or scaling.diffusion >= LESS_NOISE:
        return
    kept = f"weight decay {baseline.weight_decay:g}" if baseline.weight_decay else "no weight decay"
    kept += f" and dropout {baseline.dropout:g}" if baseline.dropout else ""
    yield Caveat(
        "regularization-kept",
        f"the steps' noise falls to {scaling.diffusion:.3g} of the baseline's diffusion, and larger batches may need "
        f"stronger regularization ({rules.PLAYBOOK}), but the plan keeps the baseline's ({kept}): tune it",
    )


def _of_the_sample(examples: int | None, target: int) -> Iterator[Caveat]:
    if examples is None:
        return
    if target > examples / 10:
        yield Caveat(
            "batch-near-data",
            f"B_L << N does not hold: the batch is {target / examples:.0%} of the training examples, and the rules "
            "assume well below a tenth",
        )
    per_epoch = examples / target
    if per_epoch < FEW_UPDATES_PER_EPOCH:
        yield Caveat(
            "few-updates-per-epoch",
            f"an epoch has only {per_epoch:.3g} updates: this plan counts in updates; a trainer that steps its "
            "schedule, warm-up or evaluation once per epoch would be too coarse",
        )


def _of_rounding(scaling: Scaling) -> Iterator[Caveat]:
    shrink = scaling.updates_factor
    rounded = [
        f"{length * shrink:.10g} to {round(length * shrink)}"
        for length in scaling.baseline.milestones
        if (length * shrink) % 1 == 0.5
    ]
    if rounded:
        yield Caveat("rounding", f"half an update is rounded to the even number: {', '.join(rounded)}")
