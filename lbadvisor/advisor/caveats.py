"""What the advisor warns of: each caveat has a trigger, and is silent where it does not apply."""

from collections.abc import Iterator
from dataclasses import dataclass

from lbadvisor.advisor import rules
from lbadvisor.advisor.adjustments import Request, lr_factor_of, updates_factor_of
from lbadvisor.advisor.baseline import Baseline

FEW_UPDATES_PER_EPOCH = 50
SMALL_GHOST = 16
FINITE_POPULATION_SHARE = 0.01
HORIZON_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Caveat:
    """A warning: a stable code, and a sentence with this plan's own numbers."""

    code: str
    message: str


def caveats(baseline: Baseline, request: Request) -> tuple[Caveat, ...]:
    """The warnings that apply to this plan, and no others."""
    if request.target_batch_size == baseline.batch_size:
        return tuple(_of_rounding(baseline, request))
    sources = (_of_price, _of_rates, _of_ghosts, _of_the_sample, _of_rounding, _of_adaptive_optimizers)
    return tuple(caveat for source in sources for caveat in source(baseline, request))


def _of_price(baseline: Baseline, request: Request) -> Iterator[Caveat]:
    ratio, share = request.target_batch_size / baseline.batch_size, request.stretch_share
    if "regime" in request.parts and share == 1:
        yield Caveat(
            "regime-price",
            f"regime adaptation processes {ratio:g} times as many examples and is no faster than the small batch: "
            "worth it only where the batch is imposed or its updates are as fast",
        )
    elif "regime" in request.parts:
        yield Caveat(
            "regime-price",
            f"{share:g} of the stretch processes {ratio * share:g} times as many examples in {share:g} times as many "
            "updates: what fewer updates cost in accuracy is not known beforehand",
        )
    elif "lr" in request.parts and request.lr_rule.name in ("sqrt", "finite-population"):
        yield Caveat(
            "sqrt-without-regime",
            f"the square-root rule without the regime leaves 1/{ratio:g} of the baseline's diffusion; at fixed epochs "
            "the linear rule was better on ImageNet (23.74 against 26.22% error at 8k, Goyal et al. 2017)",
        )


def _of_rates(baseline: Baseline, request: Request) -> Iterator[Caveat]:
    adapts_lr = "lr" in request.parts and request.lr_rule.exponent != 0
    if adapts_lr and baseline.weight_decay and request.weight_decay == "keep":
        ratio = request.target_batch_size / baseline.batch_size
        factor = lr_factor_of(baseline, request)
        span, change = ("updates", 1 / factor) if "regime" in request.parts else ("examples", ratio / factor)
        if abs(change - 1) > HORIZON_SHARE:
            yield Caveat(
                "weight-decay-horizon",
                f"weight decay stays while the learning rate grows: its horizon 1/(lr * decay) becomes {change:.3g} "
                f"times as long in {span}; --weight-decay horizon keeps it (the paper does not)",
            )
    noise_ratio = baseline.noise_ratio
    if request.noise is not None:
        noise_ratio = request.target_batch_size / baseline.batch_size
    if adapts_lr and noise_ratio is not None:
        yield Caveat(
            "noise-and-learning-rate",
            f"multiplicative noise of ratio {noise_ratio:g} and the learning rate both make up for the "
            "smaller noise of the larger batch: the paper takes one of them; --adapt regime,ghost,clip leaves the "
            "learning rate",
        )
    kept = baseline.warmup_updates is not None or baseline.clipping_norm is not None
    warms_up = kept or "clip" in request.parts or request.warmup_epochs is not None
    if adapts_lr and request.lr_rule.name == "linear" and not warms_up:
        yield Caveat(
            "linear-without-warm-up",
            "the linear rule fails early in training without a warm-up (Goyal et al. 2017 take 5 epochs): "
            "set schedule.warmup_epochs, give --arm linear, or adapt clip",
        )
    if baseline.clipping_norm is not None and baseline.clipping_updates is None:
        yield Caveat(
            "clips-whole-run",
            f"the baseline clips at {baseline.clipping_norm:g} on every update, as the paper's released code does and "
            "the paper does not: that is kept, no clipping warm-up is added",
        )


def _of_ghosts(baseline: Baseline, request: Request) -> Iterator[Caveat]:
    if "ghost" not in request.parts:
        return
    if not baseline.has_batch_norm:
        yield Caveat("no-batch-norm", "the network has no batch norm: there are no ghost batches to adapt")
        return
    ghost = request.ghost_batch_size or baseline.ghost_batch_size or baseline.batch_size
    ghosts, left = divmod(request.target_batch_size, ghost)
    momentum = baseline.batch_norm_momentum
    if ghosts > 1 and baseline.running_statistics == "sequential":
        kept = (1 - momentum) ** ghosts
        yield Caveat(
            "running-statistics-horizon",
            f"each update moves the running statistics {ghosts} times: of the old ones {kept:.2g} are left after one "
            f"update (momentum {momentum:g}), so evaluation sees about one batch",
        )
    if left and ghosts:
        joined = left < ghost / 2
        yield Caveat(
            "ghost-remainder",
            f"{request.target_batch_size} is no multiple of the ghost size {ghost}: the remaining {left} "
            + ("join the last ghost" if joined else "are a ghost of their own"),
        )
    if ghost < SMALL_GHOST:
        yield Caveat(
            "small-ghost",
            f"ghosts of {ghost} examples: where a layer has one value per example and channel the standard deviation "
            f"is underestimated (by 5% at 16), and below {SMALL_GHOST} more",
        )


def _of_the_sample(baseline: Baseline, request: Request) -> Iterator[Caveat]:
    examples, target = baseline.examples, request.target_batch_size
    if examples is None:
        return
    if target < examples and "lr" in request.parts and request.lr_rule.name == "sqrt":
        exact = rules.lr_factor(rules.FINITE_POPULATION, baseline.batch_size, target, examples)
        plain = rules.lr_factor(rules.SQRT, baseline.batch_size, target, examples)
        if exact / plain - 1 > FINITE_POPULATION_SHARE:
            rates = (
                f"times {plain:.6g} becomes times {exact:.6g}"
                if baseline.lr is None
                else f"{baseline.lr * plain:.6g} becomes {baseline.lr * exact:.6g}"
            )
            yield Caveat(
                "finite-population",
                f"the batch is {target / examples:.1%} of the training examples: drawn without replacement its noise "
                f"is smaller than the square-root rule assumes; exactly, the learning rate {rates} "
                f"({exact / plain - 1:+.1%}): --lr-rule finite-population",
            )
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
            f"an epoch has only {per_epoch:.3g} updates: everything here is kept in updates; a trainer that steps its "
            "schedule, warm-up or evaluation by the epoch would be coarse",
        )


def _of_rounding(baseline: Baseline, request: Request) -> Iterator[Caveat]:
    shrink = updates_factor_of(baseline, request)
    rounded = [
        f"{length * shrink:.10g} to {round(length * shrink)}"
        for length in baseline.milestones
        if (length * shrink) % 1 == 0.5
    ]
    if rounded:
        yield Caveat("rounding", f"a half update is rounded to the even number: {', '.join(rounded)}")


def _of_adaptive_optimizers(baseline: Baseline, request: Request) -> Iterator[Caveat]:
    adaptive = baseline.optimizer in ("adam", "adamw", "rmsprop", "adagrad")
    if adaptive and "lr" in request.parts and request.lr_rule.name == "linear":
        yield Caveat(
            "linear-with-adaptive",
            f"the linear rule is SGD's: with {baseline.optimizer} the square root keeps the update's statistics "
            f"({rules.MALLADI})",
        )
    if adaptive and "lr" in request.parts and "regime" in request.parts and request.betas == "sde":
        yield Caveat(
            "regime-with-adaptive",
            f"the square-root rule for {baseline.optimizer} keeps the trajectory with 1/r as many updates "
            f"({rules.MALLADI}): together with the regime it trains r times longer than that; "
            "--adapt lr,ghost,clip is the rule alone",
        )
