"""The covariance of the weight increment at the target, beside the baseline's: what each rule for the rate makes of it.

An increment is lr times a batch's mean gradient. The paper's square-root rule is to keep its covariance (Hoffer et al.
2017, arXiv:1705.08741). An increment is linear in the learning rate, so the gradients of one set of batches serve every
rule. K batches, Q buckets of a sketch.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lbadvisor.comparison.intervals import mean_of, ratio_of
from lbadvisor.diagnostics.calibration.calibration import noise_exponent
from lbadvisor.diagnostics.noise.noise_estimate import noise_scale
from lbadvisor.nn.two_batches import variance_factor
from lbadvisor.planning.noise_scale import NoiseScale
from lbadvisor.planning.rules import LR_RULES, lr_factor
from lbadvisor.records.bounded import Bounded

MOST_LEFT_OUT = 48
"""The jackknife of a similarity leaves one batch out at a time, or, of more than this many, one group of them."""
BatchNormOf = Literal["baseline", "ghost", "plain", "none"]


@dataclass(frozen=True, slots=True)
class Variant:
    """A kind of batch: the baseline's, or the target's with its batch norm, and with multiplicative noise or without.

    `batch_norm` is ghost, plain (the whole batch), or none if the network has no batch norm.
    """

    batch_norm: BatchNormOf
    noise: bool = False


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gradients of independent batches of one size, as float64 sketches (K, Q)."""

    batch_size: int
    gradients_KQ: Tensor


@dataclass(frozen=True, slots=True)
class GroupRatio:
    """The trace of the covariance in one group of layers by the square-root rule, relative to the baseline's."""

    group: str
    batch_norm: BatchNormOf
    covariance: Bounded


@dataclass(frozen=True, slots=True)
class RuleMatch:
    """What a rule makes of the target's increments, relative to the baseline's.

    `covariance` is the ratio of the traces, and `second_moment` that of E|dw|^2, which also counts the mean step.
    `similarity` is the cosine between the two covariance matrices, 1 if they are equal but for a factor.
    """

    rule: str
    batch_norm: BatchNormOf
    lr_factor: float
    covariance: Bounded
    second_moment: Bounded
    similarity: Bounded


@dataclass(frozen=True, slots=True)
class CovariancePoint:
    """What was found at the weights after `updates` of the baseline, whose learning rate is then `lr`.

    `noise` is E|dw - E dw|^2 of its increments, and `drift` |E dw|^2: of the target's, with the plan's batch norm, for
    they have the same mean and less noise. `drift_share` is drift/(drift + noise), and `noise_scale` that of these
    gradients, infinite if no drift was found. `covariance_exponent` is the exponent of the batch ratio that keeps the
    trace of the covariance, as measured with the plan's batch norm; `exponent` the one that keeps a step's second
    moment by `noise_exponent`, the formula of `calibrate`.
    """

    updates: int
    lr: float
    noise: Bounded
    drift: Bounded
    drift_share: Bounded
    covariance_exponent: Bounded
    exponent: Bounded
    noise_scale: NoiseScale
    matches: tuple[RuleMatch, ...]
    groups: tuple[GroupRatio, ...]


@dataclass(frozen=True, slots=True)
class CovarianceProbe:
    """The answer of `probe covariance`; it used `examples`."""

    baseline: str
    batch_size: int
    target_batch_size: int
    ghost_batch_size: int | None
    train_examples: int
    momentum: float
    batches: int
    seed: int
    examples: int
    points: tuple[CovariancePoint, ...]


def point_of(
    updates: int, lr: float, drawn: dict[Variant, Gradients], groups: dict[str, slice], examples: int
) -> CovariancePoint:
    """What the gradients drawn at one place say; `groups` are the buckets of each group of layers."""
    baseline = drawn[Variant("baseline")]
    targets = {variant: found for variant, found in drawn.items() if variant.batch_norm != "baseline"}
    planned = next(iter(targets.values()))
    small, large, ratio = baseline.batch_size, planned.batch_size, planned.batch_size / baseline.batch_size
    noise, drift = powers(baseline.gradients_KQ), squared_means(planned.gradients_KQ)
    factor = variance_factor(0, small, examples)
    found = noise_scale(drift, [value / factor for value in noise])
    scale = found.bounded

    def keeping(examples: float) -> float:
        return 0.5 if math.isinf(examples) else noise_exponent(1.0, examples, small, large) or 0.0

    return CovariancePoint(
        updates=updates,
        lr=lr,
        noise=mean_of(noise).times(lr**2),
        drift=mean_of(drift).times(lr**2),
        drift_share=scale.mapped(lambda examples: 1 / (1 + factor * examples)),
        covariance_exponent=_covariance_ratio(planned, baseline, slice(None)).mapped(
            lambda found: -math.log(found) / (2 * math.log(ratio)) if found > 0 else math.inf
        ),
        exponent=scale.mapped(keeping),
        noise_scale=found,
        matches=tuple(
            match for variant, found in targets.items() for match in _matches(variant, found, baseline, examples)
        ),
        groups=tuple(
            GroupRatio(name, variant.batch_norm, _covariance_ratio(found, baseline, part).times(ratio))
            for variant, found in targets.items()
            if not variant.noise
            for name, part in groups.items()
        ),
    )


def _matches(variant: Variant, target: Gradients, baseline: Gradients, examples: int) -> list[RuleMatch]:
    covariance = _covariance_ratio(target, baseline, slice(None))
    second = ratio_of(_squares(target.gradients_KQ), _squares(baseline.gradients_KQ))
    alike = similarity(target.gradients_KQ, baseline.gradients_KQ)
    factors = {"noise": 1.0}
    if not variant.noise:
        sizes = baseline.batch_size, target.batch_size
        factors = {name: lr_factor(rule, *sizes, examples) for name, rule in LR_RULES.items()}
    return [
        RuleMatch(rule, variant.batch_norm, factor, covariance.times(factor**2), second.times(factor**2), alike)
        for rule, factor in factors.items()
    ]


def _covariance_ratio(target: Gradients, baseline: Gradients, part: slice) -> Bounded:
    return ratio_of(powers(target.gradients_KQ[:, part]), powers(baseline.gradients_KQ[:, part]))


def powers(gradients_KQ: Tensor) -> list[float]:
    """K values whose mean is the unbiased estimate of the trace of the gradients' covariance."""
    count = len(gradients_KQ)
    return _squares(gradients_KQ - gradients_KQ.mean(0), count / (count - 1))


def squared_means(gradients_KQ: Tensor) -> list[float]:
    """K values whose mean is the unbiased estimate of |E g|^2: the mean inner product of two different gradients.

    They are the jackknife's pseudo-values, whose spread is that of the estimate (Efron and Stein 1981, Ann. Stat. 9).
    """
    count, total_Q, squares_K = len(gradients_KQ), gradients_KQ.sum(0), gradients_KQ.square().sum(1)
    whole = (total_Q.square().sum() - squares_K.sum()) / (count - 1)
    without_K = ((total_Q - gradients_KQ).square().sum(1) - (squares_K.sum() - squares_K)) / (count - 2)
    values: list[float] = (whole - without_K).tolist()
    return values


def _squares(gradients_KQ: Tensor, factor: float = 1.0) -> list[float]:
    squares: list[float] = (gradients_KQ.square().sum(1) * factor).tolist()
    return squares


def similarity(one_KQ: Tensor, other_KQ: Tensor) -> Bounded:
    """The cosine tr(C D)/sqrt(tr C^2 tr D^2) between the covariances of two independent samples of one size.

    tr C^2 is estimated without bias for normal gradients (Srivastava 2005, J. Japan Stat. Soc. 35), so the cosine can
    come out above 1. The interval is the jackknife's.
    """
    count = len(one_KQ)
    rows_XQ = torch.cat([one_KQ - one_KQ.mean(0), other_KQ - other_KQ.mean(0)])
    inner_XX = rows_XQ @ rows_XQ.T
    whole = _cosine(inner_XX, count)
    left_out = torch.arange(count).chunk(min(count, MOST_LEFT_OUT))
    values = []
    for left in left_out:
        kept = [i for i in range(2 * count) if i % count not in left.tolist()]
        without = _cosine(inner_XX[kept][:, kept], count - len(left))
        values.append(len(left_out) * whole - (len(left_out) - 1) * without)
    return mean_of(values) if all(map(math.isfinite, values)) else Bounded(whole, None, None)


def _cosine(inner_XX: Tensor, count: int) -> float:
    """From the inner products of both samples, one below the other."""
    blocks = [[_centred(part) for part in rows.split(count, 1)] for rows in inner_XX.split(count)]
    own = [
        float((block.square().sum() - block.trace() ** 2 / (count - 1)) / ((count - 2) * (count + 1)))
        for block in (blocks[0][0], blocks[1][1])
    ]
    across = float(blocks[0][1].square().sum()) / (count - 1) ** 2
    return across / math.sqrt(own[0] * own[1]) if min(own) > 0 else math.nan


def _centred(inner_KK: Tensor) -> Tensor:
    return inner_KK - inner_KK.mean(0) - inner_KK.mean(1, keepdim=True) + inner_KK.mean()
