"""A request's factors for a baseline: computed once, used by every line, warning and cost of the plan."""

from dataclasses import dataclass

from lbadvisor.errors import PlanError
from lbadvisor.planning import betas, rules, weight_decay
from lbadvisor.planning.baseline import Baseline
from lbadvisor.planning.request import Request
from lbadvisor.recipe.catalog import OPTIMIZERS, OptimizerFacts


@dataclass(frozen=True, slots=True)
class Scaling:
    """A baseline, a request, and the factors between them, all unitless.

    `updates_factor` is the number of updates relative to the baseline's; `fewer` is its inverse, not rounded twice.
    `betas` and `decay` are the rules applied, and `decay_factor` multiplies every weight decay.
    `noise_factor` is the gradient's variance relative to the baseline's, and `diffusion` that of all the run's weight
    increments, which the paper conserves (Hoffer et al. 2017, arXiv:1705.08741): T lr^2 times the gradient's variance
    under SGD; T lr^2 if the gradient is divided by its own root mean square (Malladi et al. 2022, arXiv:2205.10287,
    while noise dominates); None under Adagrad, which has no such formula.
    """

    baseline: Baseline
    request: Request
    batch_ratio: float
    lr_factor: float
    updates_factor: float
    fewer: float
    betas: betas.AppliedBetas
    decay: weight_decay.AppliedDecay
    decay_factor: float
    noise_factor: float
    diffusion: float | None

    @property
    def optimizer(self) -> OptimizerFacts:
        """Facts about the baseline's optimizer."""
        return OPTIMIZERS[self.baseline.optimizer]

    @property
    def noise_ratio(self) -> float | None:
        """The ratio of the multiplicative noise at the target, the baseline's or the request's; None without noise."""
        return self.baseline.noise_ratio if self.request.noise is None else self.batch_ratio

    @property
    def adapts_lr(self) -> bool:
        """Whether the learning rate is among the parts, with a rule that moves it."""
        return "lr" in self.request.parts and self.request.lr_rule != rules.NO_RULE

    @property
    def ghost_batch_size(self) -> int | None:
        """The ghost batch size at the target; None: the whole batch, or no batch norm."""
        if not self.baseline.has_batch_norm:
            return None
        before = self.baseline.ghost_batch_size
        return (self.request.ghost_batch_size or before or self.baseline.batch_size) if self.adapts_ghosts else before

    @property
    def adapts_ghosts(self) -> bool:
        """Whether the ghost batch size is among the parts, and the network has batch norm."""
        return "ghost" in self.request.parts and self.baseline.has_batch_norm

    @property
    def adds_clipping(self) -> bool:
        """Whether to add a clipping warm-up: not if the baseline already clips, or if it would not shorten steps."""
        return (
            "clip" in self.request.parts
            and self.baseline.clipping_norm is None
            and self.optimizer.divides_by == "nothing"
        )

    def lengths(self, length: float) -> tuple[int, int]:
        """A length in whole updates before and after, each rounded once from the unrounded number."""
        return max(1, round(length)), max(1, round(length * self.updates_factor))


def scaling_of(baseline: Baseline, request: Request) -> Scaling:
    """The factors of `request` for `baseline`. Raises `PlanError` if a rule cannot be applied."""
    target, parts, ghost = request.target_batch_size, request.parts, request.ghost_batch_size
    examples = baseline.examples
    ratio = rules.batch_ratio(baseline.batch_size, target)
    if examples is not None and target > examples:
        raise PlanError(f"the target batch size {target} is above the {examples} training examples")
    if ghost is not None and not 2 <= ghost <= target:
        raise PlanError(f"a ghost batch size of {ghost} is not between 2 and the target batch size {target}")
    if "regime" in parts and not 1 / ratio <= request.stretch_share <= 1:
        raise PlanError(
            f"a stretch share of {request.stretch_share:g} is not between 1/r = {1 / ratio:g}, which keeps the epochs, "
            "and 1, which keeps the updates"
        )
    lr_factor = rules.lr_factor(request.lr_rule, baseline.batch_size, target, examples) if "lr" in parts else 1.0
    variance = rules.noise_variance(target, examples, baseline.noise_ratio if request.noise is None else ratio)
    before = rules.noise_variance(baseline.batch_size, examples, baseline.noise_ratio)
    noise_factor = variance / before if before else 1.0
    updates_factor = request.stretch_share if "regime" in parts else baseline.batch_size / target
    fewer = 1 / request.stretch_share if "regime" in parts else ratio
    divides_by = OPTIMIZERS[baseline.optimizer].divides_by
    per_update = {"nothing": lr_factor**2 * noise_factor, "average": lr_factor**2}.get(divides_by)
    applied_betas = betas.applied_betas(baseline, ratio, request.betas) if "lr" in parts else "keep"
    decay = weight_decay.applied_decay(baseline, request)
    return Scaling(
        baseline=baseline,
        request=request,
        batch_ratio=ratio,
        lr_factor=lr_factor,
        updates_factor=updates_factor,
        fewer=fewer,
        betas=applied_betas,
        decay=decay,
        decay_factor=weight_decay.decay_factor(baseline, ratio, lr_factor, fewer, decay),
        noise_factor=noise_factor,
        diffusion=None if per_update is None else updates_factor * per_update,
    )
