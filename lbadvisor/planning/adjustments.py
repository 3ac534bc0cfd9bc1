"""What a larger batch changes in a training, line by line: old -> new, with rule, formula, source and validity.

Each function here makes the lines of one part of the plan from a scaling. A line whose `field` is a dotted path of the
recipe sets that field in the adapted recipe; nothing else in it changes.
"""

from dataclasses import dataclass
from typing import Literal

from lbadvisor.planning import betas, rules, weight_decay
from lbadvisor.planning.rules import Rule
from lbadvisor.planning.scaling import Scaling
from lbadvisor.running_statistics import DEFINITIONS, horizon_examples

Value = int | float | str | tuple[int | float | None, ...] | None


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One line of a plan.

    `kind` is "recipe" for a field of the recipe and "derived" for a quantity that follows from it; `unit` is that of
    `before` and `after` ("x baseline" if the baseline's value is unknown: before is then 1). None: not set.
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


def changed(field: str, before: Value, after: Value, rule: Rule, unit: str = "") -> Adjustment:
    """The line for a field of the recipe, changed by `rule`."""
    return Adjustment(field, before, after, unit, "recipe", rule.name, rule.formula, rule.source, rule.validity)


def derived(quantity: str, before: Value, after: Value, rule: Rule, unit: str = "") -> Adjustment:
    """The line for a quantity that follows from the recipe's fields by `rule`."""
    return Adjustment(quantity, before, after, unit, "derived", rule.name, rule.formula, rule.source, rule.validity)


def updates_formula(scaling: Scaling) -> str:
    """`Scaling.updates_factor` as a formula."""
    if "regime" not in scaling.request.parts:
        return "updates / r"
    share = scaling.request.stretch_share
    return "updates" if share == 1 else f"updates * {share:g}"


_TARGET = Rule("target", "B_L", "requested", "must stay well below the number of training examples")


def batch_lines(scaling: Scaling) -> list[Adjustment]:
    """The batch size itself."""
    return [
        changed(
            "batch.size", scaling.baseline.batch_size, scaling.request.target_batch_size, _TARGET, "examples"
        )
    ]  # fmt: skip


def lr_lines(scaling: Scaling) -> list[Adjustment]:
    """The learning rate, and what else changes with it in adaptive optimizers."""
    baseline, request = scaling.baseline, scaling.request
    before, unit = (1.0, RELATIVE) if baseline.lr is None else (baseline.lr, "")
    if "lr" not in request.parts:
        return [changed("optimizer.lr", before, before, rules.LR_LEFT_OUT, unit)]
    rule = rules.lr_rule_of(request.lr_rule, scaling.optimizer.divides_by)
    lines = [changed("optimizer.lr", before, before * scaling.lr_factor, rule, unit)]
    ratio, applied = scaling.batch_ratio, scaling.betas
    for name, beta in betas.betas_of(baseline).items():
        after = betas.adapted_beta(name, beta, ratio, applied)
        lines.append(changed(f"optimizer.{name}", beta, after, betas.betas_rule(name, applied)))
    if baseline.epsilon is not None and baseline.beta2 is not None:
        after = betas.adapted_epsilon(baseline.epsilon, ratio, applied)
        lines.append(changed("optimizer.epsilon", baseline.epsilon, after, betas.epsilon_rule(applied)))
    return lines


def _regime_rules(scaling: Scaling) -> tuple[Rule, Rule]:
    """The rules for updates and for epochs."""
    share, formula = scaling.request.stretch_share, updates_formula(scaling)
    if "regime" not in scaling.request.parts:
        kept = Rule("fixed epochs", formula, rules.LEFT_OUT, "fewer updates: the weights travel less far")
        return kept, Rule(kept.name, "epochs", kept.source, kept.validity)
    if share != 1:
        part = Rule("part of the regime", formula, rules.OWN_CHOICE, "fewer updates: the weights travel less far")
        return part, Rule(part.name, f"epochs * r * {share:g}", part.source, part.validity)
    whole = Rule(
        "regime adaptation", formula, rules.HOFFER, "as many updates, each r times as many examples: it buys no speed"
    )
    return whole, Rule(whole.name, "epochs * r", whole.source, whole.validity)


def regime_lines(scaling: Scaling) -> list[Adjustment]:
    """The schedule: kept in updates if the regime is adapted, else in epochs."""
    baseline, (in_updates, in_epochs) = scaling.baseline, _regime_rules(scaling)
    if baseline.updates is None:
        updates = changed("schedule.updates", 1.0, scaling.updates_factor, in_updates, RELATIVE)
    else:
        updates = changed("schedule.updates", *scaling.lengths(baseline.updates), in_updates, "updates")
    epochs, unit = (1.0, RELATIVE) if baseline.epochs is None else (baseline.epochs, "epochs")
    stretch = scaling.batch_ratio * scaling.request.stretch_share if "regime" in scaling.request.parts else 1
    lines = [updates, derived("schedule.epochs", epochs, epochs * stretch, in_epochs, unit)]
    if baseline.milestones:
        before, after = zip(*(scaling.lengths(m) for m in baseline.milestones), strict=True)
        lines.append(changed("schedule.milestones", before, after, in_updates, "updates"))
    if baseline.warmup_updates is not None:
        warmup = scaling.lengths(baseline.warmup_updates)
        lines.append(changed("schedule.warmup_updates", *warmup, in_updates, "updates"))
    return lines


_GHOSTS_LEFT_OUT = Rule("not adapted", "B_L", rules.LEFT_OUT, "a different network then: its statistics are less noisy")


def ghost_lines(scaling: Scaling) -> list[Adjustment]:
    """The ghost batch size: as many examples per batch-norm statistic as the baseline was tuned with."""
    baseline, request = scaling.baseline, scaling.request
    if not baseline.has_batch_norm:
        return []
    before, after = baseline.ghost_batch_size, scaling.ghost_batch_size
    if not scaling.adapts_ghosts:
        spans = (before or baseline.batch_size, after or request.target_batch_size)
        return [derived("batch_norm statistics", *spans, _GHOSTS_LEFT_OUT, "examples")]
    rule = Rule(
        "ghost batch norm",
        "as requested" if request.ghost_batch_size else "the baseline's: kept" if before else "B_S",
        f"{rules.HOFFER}, Algorithm 1",
        "in the paper's Table 1, with SGD, it gains over +LR: F1 0.05, ResNet-44 1.2, VGG 2.9 points, or 7, 34 and "
        "78% of the gap that +LR leaves",
    )
    return [changed("batch_norm.ghost_batch_size", before, after, rule, "examples")]


def running_statistics_lines(scaling: Scaling) -> list[Adjustment]:
    """The number of examples over which batch norm's running statistics average, by their definition."""
    baseline, target = scaling.baseline, scaling.request.target_batch_size
    if not baseline.has_batch_norm:
        return []
    name, before, after = baseline.running_statistics, baseline.ghost_batch_size, scaling.ghost_batch_size
    definition = DEFINITIONS[name]
    rule = Rule(name, definition.formula, definition.source, definition.validity)
    if after is None:
        rule = Rule("plain batch norm", "B (2 - m) / m", "torch.nn.BatchNorm2d", "horizon kept in updates")

    def span(batch_size: int, ghost: int | None) -> float:
        return round(horizon_examples(name, baseline.batch_norm_momentum, batch_size, ghost or batch_size), 6)

    return [
        derived(
            "running_statistics_horizon_examples", span(baseline.batch_size, before), span(target, after), rule,
            "examples",
        )
    ]  # fmt: skip


_CLIPPING_KEPT = Rule(
    "kept", "max_norm", "the baseline already clips", "the baseline's threshold suits its gradient noise"
)


def clipping_lines(scaling: Scaling) -> list[Adjustment]:
    """The clipping warm-up, or the baseline's own clipping, whose length follows the schedule's rule."""
    baseline = scaling.baseline
    if baseline.clipping_norm is not None:
        norm = baseline.clipping_norm
        lines = [changed("clipping.max_norm", norm, norm, _CLIPPING_KEPT, "global L2 norm")]
        if baseline.clipping_updates is not None:
            rule = Rule("with the schedule", updates_formula(scaling), "the baseline's length", "as the schedule's")
            length = scaling.lengths(baseline.clipping_updates)
            lines.append(changed("clipping.updates", *length, rule, "updates"))
        return lines
    if not scaling.adds_clipping:
        return []
    length_updates = None
    if baseline.examples is not None and baseline.updates is not None:
        _, updates = scaling.lengths(baseline.updates)
        length_updates = rules.clipping_warmup_updates(baseline.examples, baseline.batch_size, updates)
    norm_rule = rules.clipping_norm_rule(baseline.momentum or 0.0)
    return [
        changed("clipping.max_norm", None, rules.clipping_norm(scaling.lr_factor), norm_rule, "global L2 norm"),
        changed("clipping.updates", None, length_updates, rules.CLIPPING_LENGTH, "updates"),
    ]


def weight_decay_lines(scaling: Scaling) -> list[Adjustment]:
    """The weight decay and that of the milestones, kept or scaled by one rule, and its horizon."""
    baseline = scaling.baseline
    decay, later, factor = baseline.weight_decay or 0.0, baseline.milestone_decays, scaling.decay_factor
    if not (decay or any(later)):
        return []
    rule = weight_decay.decay_rule(baseline, scaling.request, scaling.decay)
    lines = [changed("optimizer.weight_decay", decay, decay * factor, rule)]
    if any(value is not None for value in later):
        after = tuple(None if value is None else value * factor for value in later)
        lines.append(changed("schedule.milestones.weight_decay", later, after, rule))
    if decay and weight_decay.has_horizon(baseline):
        known = weight_decay.horizon_updates(baseline)
        before, unit = (1.0, RELATIVE) if known is None else (round(known, 6), "updates")
        times = weight_decay.horizon_factor(baseline, scaling.batch_ratio, scaling.lr_factor, factor)
        horizon = weight_decay.horizon_rule(baseline)
        lines.append(derived("weight_decay_horizon_updates", before, round(before * times, 6), horizon, unit))
    return lines


_MOMENTUM_KEPT = Rule(
    "momentum kept", "B / (1 - momentum)", f"{rules.HOFFER} and {rules.GOYAL}: momentum unchanged",
    "horizon kept in updates",
)  # fmt: skip
_MOMENTUM_OF_OTHERS = Rule(
    "momentum kept", "B / (1 - momentum)", rules.OWN_CHOICE, "horizon kept in updates; unpublished for RMSprop"
)


def momentum_lines(scaling: Scaling) -> list[Adjustment]:
    """The momentum, which is kept, and the number of examples it averages over."""
    baseline = scaling.baseline
    if not baseline.momentum:
        return []
    horizon = 1 / (1 - baseline.momentum)
    before, after = (round(horizon * size, 6) for size in (baseline.batch_size, scaling.request.target_batch_size))
    rule = _MOMENTUM_KEPT if scaling.optimizer.divides_by == "nothing" else _MOMENTUM_OF_OTHERS
    return [derived("momentum_horizon_examples", before, after, rule, "examples")]


def weight_ema_lines(scaling: Scaling) -> list[Adjustment]:
    """The weight average: kept if updates are kept, decay^r if epochs are."""
    decay, fewer = scaling.baseline.ema_decay, scaling.fewer
    if decay is None:
        return []
    name, formula = "with the schedule", f"decay^{fewer:g}"
    if fewer == 1:
        name, formula = "kept in updates", "decay"
    elif "regime" not in scaling.request.parts:
        name, formula = "kept in examples", "decay^r"
    rule = Rule(name, formula, rules.BUSBRIDGE, "the same share of the run is averaged")
    return [changed("weight_ema.decay", decay, decay if fewer == 1 else decay**fewer, rule)]


_SAVING_KEPT = Rule("kept", "seconds", rules.OWN_CHOICE, "stopping loses the same time at any batch size")


def cadence_lines(scaling: Scaling) -> list[Adjustment]:
    """How often training is measured and evaluated (by the schedule) and saved (by wall-clock time)."""
    baseline = scaling.baseline
    rule = Rule(
        "with the schedule", updates_formula(scaling), rules.OWN_CHOICE, "as many points on the curve as before"
    )
    cadences = (
        ("measurements.every_updates", baseline.measure_every),
        ("measurements.evaluate_every_updates", baseline.evaluate_every),
    )
    lines = [changed(field, *scaling.lengths(every), rule, "updates") for field, every in cadences if every is not None]
    if baseline.checkpoint_seconds is not None:
        seconds = baseline.checkpoint_seconds
        lines.append(changed("checkpoints.every_seconds", seconds, seconds, _SAVING_KEPT, "seconds"))
    return lines
