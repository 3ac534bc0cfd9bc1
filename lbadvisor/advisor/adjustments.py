"""What a larger batch changes in a training, line by line: old -> new, with rule, formula, source and validity.

Each function here makes the lines of one part of the plan from a baseline and a request. A line whose `field` is a
recipe's own dotted path is what the adapted recipe gets; nothing else is changed in it.
"""

from dataclasses import dataclass, fields
from typing import Literal

from lbadvisor.advisor import rules
from lbadvisor.advisor.baseline import Baseline
from lbadvisor.advisor.parts import Part
from lbadvisor.advisor.rules import LrRule
from lbadvisor.advisor.running_statistics import DEFINITIONS, horizon_examples

Value = int | float | str | tuple[int, ...] | None
BetasRule = Literal["sde", "half-life", "keep"]
WeightDecayRule = Literal["keep", "horizon"]
NoiseKind = Literal["gaussian", "bernoulli"]


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of the advisor: the target batch size, the parts to adapt, and the rules to adapt them by.

    `stretch_share` is what the regime keeps of the baseline's updates: 1 all of them, 0.5 half the stretch. The rest is
    added to the adaptation: a warm-up of the learning rate of at most `warmup_epochs`, multiplicative noise of a kind,
    and the probabilities of a `[regularization]` table; None: nothing.
    """

    target_batch_size: int
    parts: tuple[Part, ...]
    lr_rule: LrRule = rules.SQRT
    ghost_batch_size: int | None = None
    betas: BetasRule = "sde"
    weight_decay: WeightDecayRule = "keep"
    stretch_share: float = 1.0
    warmup_epochs: float | None = None
    noise: NoiseKind | None = None
    dropout: float | None = None
    label_noise: float | None = None
    drop_connect: float | None = None


_NOTED = ("target_batch_size", "parts", "lr_rule", "stretch_share")
_ADDED = ("warmup_epochs", "noise", "dropout", "label_noise", "drop_connect")


def options_of(request: Request) -> tuple[str, ...]:
    """What the request asks for that is neither a part, a rule of the learning rate nor an addition, nor the default.

    In words for a name, such as ghost3 and betas-keep.
    """
    asked = {
        field.name: value
        for field in fields(Request)
        if field.name not in _NOTED + _ADDED and (value := getattr(request, field.name)) != field.default
    }
    return tuple(
        f"ghost{value}" if name == "ghost_batch_size" else f"{name.replace('_', '-')}-{value}"
        for name, value in asked.items()
    )


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One line of a plan.

    `kind` is "recipe" for a field of the recipe and "derived" for a quantity that moves with it; `unit` is that of
    `before` and `after` ("x baseline" where the baseline's value is not known, so that before is 1). None: not set.
    """

    field: str
    before: Value
    after: Value
    unit: str
    kind: Literal["recipe", "derived"]
    rule: str
    formula: str
    source: str
    validity: str


RELATIVE = "x baseline"


def lr_factor_of(baseline: Baseline, request: Request) -> float:
    """What the request multiplies the learning rate by, unitless; 1 where it leaves the learning rate out."""
    if "lr" not in request.parts:
        return 1.0
    return rules.lr_factor(request.lr_rule, baseline.batch_size, request.target_batch_size, baseline.examples)


def updates_factor_of(baseline: Baseline, request: Request) -> float:
    """The updates as a multiple of the baseline's, unitless: those that the regime keeps, else 1/r of them."""
    if "regime" in request.parts:
        return request.stretch_share
    return baseline.batch_size / request.target_batch_size


def _shortening(baseline: Baseline, request: Request) -> float:
    """How many times fewer the updates are: the inverse of `updates_factor_of`, not rounded twice."""
    if "regime" in request.parts:
        return 1 / request.stretch_share
    return request.target_batch_size / baseline.batch_size


def updates_formula(request: Request) -> str:
    """`updates_factor_of` as a formula."""
    if "regime" not in request.parts:
        return "updates / r"
    return "updates" if request.stretch_share == 1 else f"updates * {request.stretch_share:g}"


def batch_lines(baseline: Baseline, request: Request) -> list[Adjustment]:
    """The batch size itself."""
    return [
        Adjustment(
            "batch.size", baseline.batch_size, request.target_batch_size, "examples", "recipe",
            "target", "B_L", "asked for", "must stay well below the training examples",
        )
    ]  # fmt: skip


def lr_lines(baseline: Baseline, request: Request) -> list[Adjustment]:
    """The learning rate, and what adaptive optimizers change with it."""
    before, unit = (1.0, RELATIVE) if baseline.lr is None else (baseline.lr, "")
    if "lr" not in request.parts:
        return [
            Adjustment(
                "optimizer.lr", before, before, unit, "recipe", "not adapted", "lr", "left out by --adapt",
                rules.NO_RULE.validity,
            )
        ]  # fmt: skip
    rule = request.lr_rule
    factor = lr_factor_of(baseline, request)
    lines = [
        Adjustment(
            "optimizer.lr", before, before * factor, unit, "recipe", rule.name,
            rule.formula, rule.source, rule.validity,
        )
    ]  # fmt: skip
    return lines + _adaptive_lines(baseline, request)


def _adaptive_lines(baseline: Baseline, request: Request) -> list[Adjustment]:
    ratio, rule = request.target_batch_size / baseline.batch_size, request.betas
    formulas = {"sde": "1 - r (1 - beta)", "half-life": "beta^r", "keep": "beta"}
    sources = {"sde": rules.MALLADI, "half-life": rules.MAREK, "keep": "kept as asked"}
    validities = {
        "sde": "small learning rate, gradient noise above the mean, r (1 - beta) < 1; derived for updates / r",
        "half-life": "keeps the half-life in examples; found on language models with small batches",
        "keep": "the averages then span r times as many examples",
    }
    lines = []
    for name, beta in (("beta1", baseline.beta1), ("beta2", baseline.beta2)):
        if beta is not None:
            after = rules.adapted_beta(name, beta, ratio, rule, baseline.batch_size)
            lines.append(
                Adjustment(
                    f"optimizer.{name}",
                    beta,
                    after,
                    "",
                    "recipe",
                    rule,
                    formulas[rule],
                    sources[rule],
                    validities[rule],
                )
            )
    if baseline.epsilon is not None and baseline.beta2 is not None:
        after = baseline.epsilon / ratio**0.5 if rule == "sde" else baseline.epsilon
        lines.append(
            Adjustment(
                "optimizer.epsilon", baseline.epsilon, after, "", "recipe", rule,
                "epsilon / sqrt(r)" if rule == "sde" else "epsilon", sources[rule], validities[rule],
            )
        )  # fmt: skip
    return lines


def regime_lines(baseline: Baseline, request: Request) -> list[Adjustment]:
    """The schedule: kept in updates where the regime is adapted, in epochs where it is not."""
    ratio, share = request.target_batch_size / baseline.batch_size, request.stretch_share
    adapts = "regime" in request.parts
    rule = ("regime adaptation" if share == 1 else "part of the regime") if adapts else "fixed epochs"
    source = (rules.HOFFER if share == 1 else rules.OWN_CHOICE) if adapts else "left out by --adapt"
    formula = updates_formula(request)
    validity = "fewer updates: the weights travel less far"
    if adapts and share == 1:
        validity = "as many updates, each r times as many examples: it buys no speed"
    if baseline.updates is None:
        updates: tuple[Value, Value, str] = (1.0, updates_factor_of(baseline, request), RELATIVE)
    else:
        updates = (*_lengths(baseline.updates, request, baseline), "updates")
    epochs, unit = (1.0, RELATIVE) if baseline.epochs is None else (baseline.epochs, "epochs")
    pairs: list[tuple[str, Value, Value, str]] = [("schedule.updates", *updates)]
    if baseline.milestones:
        both = [_lengths(m, request, baseline) for m in baseline.milestones]
        pairs.append(("schedule.milestones", tuple(b for b, _ in both), tuple(a for _, a in both), "updates"))
    if baseline.warmup_updates is not None:
        pairs.append(("schedule.warmup_updates", *_lengths(baseline.warmup_updates, request, baseline), "updates"))
    lines = [
        Adjustment(field, before, after, unit, "recipe", rule, formula, source, validity)
        for field, before, after, unit in pairs
    ]
    in_epochs = Adjustment(
        "schedule.epochs", epochs, epochs * ratio * share if adapts else epochs, unit, "derived", rule,
        ("epochs * r" if share == 1 else f"epochs * r * {share:g}") if adapts else "epochs", source, validity,
    )  # fmt: skip
    return [lines[0], in_epochs, *lines[1:]]


def ghost_lines(baseline: Baseline, request: Request) -> list[Adjustment]:
    """The ghost batch size: the examples whose batch-norm statistics the baseline was tuned with."""
    if not baseline.has_batch_norm:
        return []
    before = baseline.ghost_batch_size
    if "ghost" not in request.parts:
        spans = (before or baseline.batch_size, before or request.target_batch_size)
        return [
            Adjustment(
                "batch_norm statistics", *spans, "examples", "derived", "not adapted", "B_L", "left out by --adapt",
                "the network is then another one: its statistics are less noisy",
            )
        ]  # fmt: skip
    after = request.ghost_batch_size or before or baseline.batch_size
    return [
        Adjustment(
            "batch_norm.ghost_batch_size", before, after, "examples", "recipe", "ghost batch norm",
            "as asked" if request.ghost_batch_size else "the baseline's: kept" if before else "B_S",
            f"{rules.HOFFER}, Algorithm 1", "alone it closes little: F1 +0.05, ResNet-44 +1.2, VGG +2.9 points",
        )
    ]  # fmt: skip


def running_statistics_lines(baseline: Baseline, request: Request) -> list[Adjustment]:
    """The examples that batch norm's running statistics span, by their definition."""
    if not baseline.has_batch_norm:
        return []
    name, target = baseline.running_statistics, request.target_batch_size
    before = after = baseline.ghost_batch_size
    if "ghost" in request.parts:
        after = request.ghost_batch_size or before or baseline.batch_size

    def span(batch_size: int, ghost: int | None) -> float:
        return round(horizon_examples(name, baseline.batch_norm_momentum, batch_size, ghost or batch_size), 6)

    definition = DEFINITIONS[name]
    plain = after is None
    return [
        Adjustment(
            "running_statistics_horizon_examples", span(baseline.batch_size, before), span(target, after), "examples",
            "derived", "plain batch norm" if plain else name, "B / m" if plain else definition.formula,
            "torch.nn.BatchNorm2d" if plain else definition.source,
            "horizon kept in updates" if plain else definition.validity,
        )
    ]  # fmt: skip


def clipping_lines(baseline: Baseline, request: Request) -> list[Adjustment]:
    """The clipping warm-up; clipping that the baseline has already is kept, a length of it with the schedule's rule."""
    if baseline.clipping_norm is not None:
        kept = [
            Adjustment(
                "clipping.max_norm", baseline.clipping_norm, baseline.clipping_norm, "global L2 norm", "recipe",
                "kept", "max_norm", "the baseline clips already", "the baseline's threshold, for its gradient noise",
            )
        ]  # fmt: skip
        if baseline.clipping_updates is not None:
            kept.append(
                Adjustment(
                    "clipping.updates", *_lengths(baseline.clipping_updates, request, baseline), "updates", "recipe",
                    "with the schedule", updates_formula(request), "the baseline's length", "as the schedule's",
                )
            )  # fmt: skip
        return kept
    if "clip" not in request.parts:
        return []
    length = None
    if baseline.examples is not None and baseline.updates is not None:
        _, updates = _lengths(baseline.updates, request, baseline)
        length = rules.clipping_warmup_updates(baseline.examples, baseline.batch_size, updates)
    factor, momentum = lr_factor_of(baseline, request), baseline.momentum or 0.0
    return [
        Adjustment(
            "clipping.max_norm", None, rules.clipping_norm(factor), "global L2 norm", "recipe", "clipping warm-up",
            "5 lr_S / lr_L", f"the paper names no threshold; 5 at B_S is that of {rules.HOFFER_CODE}, there on every "
            f"update; that a step grows no longer with the learning rate is {rules.OWN_CHOICE}",
            "a step of at most lr * max_norm" + (f" / (1 - {momentum:g})" if momentum else ""),
        ),
        Adjustment(
            "clipping.updates", None, length, "updates", "recipe", "clipping warm-up",
            "min(N / B_S, updates / 10)",
            f"the paper names no length; one epoch of the baseline is {rules.OWN_CHOICE}, at most a tenth of the run "
            f"{rules.PLAYBOOK}",
            "a warm-up: if most updates are clipped after it, lower the learning rate",
        ),
    ]  # fmt: skip


def weight_decay_lines(baseline: Baseline, request: Request) -> list[Adjustment]:
    """The weight decay, kept unless asked for, and its horizon 1/(lr * decay)."""
    decay = baseline.weight_decay
    if not decay or baseline.lr is None:
        return []
    factor, fewer = lr_factor_of(baseline, request), _shortening(baseline, request)
    after = decay * fewer / factor if request.weight_decay == "horizon" else decay
    keeps = request.weight_decay == "keep"
    span = "examples" if "regime" not in request.parts else "updates" if fewer == 1 else "shares of the run"
    shortened = "" if fewer == 1 else "/ r " if span == "examples" else f"* {request.stretch_share:g} "
    return [
        Adjustment(
            "optimizer.weight_decay", decay, after, "", "recipe", request.weight_decay,
            "decay" if keeps else f"lr * decay {shortened}constant",
            f"{rules.HOFFER}: not rescaled" if keeps else rules.WANG,
            "its horizon moves, see the next line" if keeps else f"keeps the horizon in {span}; shown for AdamW",
        ),
        Adjustment(
            "weight_decay_horizon_updates", 1 / (baseline.lr * decay), 1 / (baseline.lr * factor * after), "updates",
            "derived", request.weight_decay, "1 / (lr * decay)", rules.WANG,
            "plain weights; with batch norm weight decay sets the effective learning rate instead",
        ),
    ]  # fmt: skip


def momentum_lines(baseline: Baseline, request: Request) -> list[Adjustment]:
    """The momentum, kept, and the examples that it averages over."""
    if not baseline.momentum:
        return []
    horizon = 1 / (1 - baseline.momentum)
    return [
        Adjustment(
            "momentum_horizon_examples", round(horizon * baseline.batch_size, 6),
            round(horizon * request.target_batch_size, 6), "examples", "derived", "momentum kept", "B / (1 - momentum)",
            f"{rules.HOFFER} and {rules.GOYAL}: momentum unchanged", "horizon kept in updates",
        )
    ]  # fmt: skip


def weight_ema_lines(baseline: Baseline, request: Request) -> list[Adjustment]:
    """The weight average: kept where updates are, decay^r where epochs are."""
    if baseline.ema_decay is None:
        return []
    fewer, decay = _shortening(baseline, request), baseline.ema_decay
    fixed_epochs = "regime" not in request.parts
    return [
        Adjustment(
            "weight_ema.decay", decay, decay if fewer == 1 else decay**fewer, "", "recipe",
            "kept in updates" if fewer == 1 else "kept in examples" if fixed_epochs else "with the schedule",
            "decay" if fewer == 1 else "decay^r" if fixed_epochs else f"decay^{fewer:g}",
            rules.BUSBRIDGE, "the same share of the run is averaged",
        )
    ]  # fmt: skip


def cadence_lines(baseline: Baseline, request: Request) -> list[Adjustment]:
    """How often training is measured and evaluated, with the schedule; and saved, by the clock on the wall."""
    cadences = (
        ("measurements.every_updates", baseline.measure_every),
        ("measurements.evaluate_every_updates", baseline.evaluate_every),
    )
    lines = [
        Adjustment(
            field, *_lengths(every, request, baseline), "updates", "recipe", "with the schedule",
            updates_formula(request), rules.OWN_CHOICE, "as many points on the curve as before",
        )
        for field, every in cadences
        if every is not None
    ]  # fmt: skip
    if baseline.checkpoint_seconds is not None:
        seconds = baseline.checkpoint_seconds
        lines.append(
            Adjustment(
                "checkpoints.every_seconds", seconds, seconds, "seconds", "recipe", "kept", "seconds", rules.OWN_CHOICE,
                "a stop loses the same time at any batch size",
            )
        )  # fmt: skip
    return lines


def _lengths(length: float, request: Request, baseline: Baseline) -> tuple[int, int]:
    """A length in whole updates before and after; it is rounded once, from the unrounded number."""
    return max(1, round(length)), max(1, round(length * updates_factor_of(baseline, request)))
