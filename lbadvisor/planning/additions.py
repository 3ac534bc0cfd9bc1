"""What a request adds to the paper's adaptation, line by line: a warm-up, noise, regularization, distances.

Goyal's rule needs the first, the paper offers the second as an alternative, the third are its negative controls, and
the last is its advice.
"""

from dataclasses import replace

from lbadvisor.errors import PlanError
from lbadvisor.planning import rules
from lbadvisor.planning.adjustments import Adjustment, changed, updates_formula
from lbadvisor.planning.rules import Rule
from lbadvisor.planning.scaling import Scaling
from lbadvisor.recipe.parts import Addition


def additions_of(scaling: Scaling) -> tuple[Addition, ...]:
    """What the request adds to this baseline; a warm-up of the baseline's own is kept, without adding another."""
    request = scaling.request
    asked: dict[Addition, bool] = {
        "warm-up": request.warmup_epochs is not None and scaling.baseline.warmup_updates is None,
        "noise": request.noise is not None,
        "dropout": request.dropout is not None,
        "label-noise": request.label_noise is not None,
        "drop-connect": request.drop_connect is not None,
        "distance": request.distances is not None,
    }
    return tuple(addition for addition, given in asked.items() if given)


def check_additions(scaling: Scaling) -> None:
    """Raise `PlanError` if an addition or the stretch share does not fit the rest of the request."""
    baseline, request, ratio = scaling.baseline, scaling.request, scaling.batch_ratio
    if request.stretch_share != 1 and "regime" not in request.parts:
        raise PlanError(
            f"a stretch share of {request.stretch_share:g} applies to the regime's stretch: adapt regime as well"
        )
    if request.warmup_epochs is not None and request.warmup_epochs <= 0:
        raise PlanError(f"a warm-up of {request.warmup_epochs:g} epochs: give a length above 0")
    if request.warmup_epochs is not None and scaling.lr_factor <= 1:
        raise PlanError("a warm-up raises the learning rate from the baseline's to the scaled one: adapt lr as well")
    if request.noise is not None and baseline.noise_ratio is not None:
        raise PlanError(
            f"the baseline already has multiplicative noise of ratio {baseline.noise_ratio:g}: remove its "
            "[gradient_noise], or do not add noise"
        )
    if request.noise is not None and ratio == 1:
        raise PlanError("multiplicative noise compensates for a larger batch, but the target is the baseline's own")
    for what in ("dropout", "label_noise", "drop_connect"):
        probability = getattr(request, what)
        if probability is not None and not 0 <= probability < 1:
            raise PlanError(f"{what} must be a probability from 0 to below 1, is {probability:g}")


_WARMUP_START = Rule("gradual warm-up", "lr_S / lr_L", rules.GOYAL, "starts at the baseline's learning rate")


def warmup_lines(scaling: Scaling) -> list[Adjustment]:
    """Goyal's gradual warm-up, from the baseline's learning rate to the scaled one."""
    baseline, request = scaling.baseline, scaling.request
    if "warm-up" not in additions_of(scaling) or request.warmup_epochs is None:
        return []
    epochs, length = request.warmup_epochs, None
    if baseline.examples is not None and baseline.updates is not None:
        _, updates = scaling.lengths(baseline.updates)
        length = rules.lr_warmup_updates(epochs, baseline.examples, request.target_batch_size, updates)
    return [
        changed("schedule.warmup_updates", None, length, rules.lr_warmup_rule(epochs), "updates"),
        changed("schedule.warmup_lr_factor", 0.0, 1 / scaling.lr_factor, _WARMUP_START, "x optimizer.lr"),
    ]


def noise_lines(scaling: Scaling) -> list[Adjustment]:
    """Multiplicative noise: the baseline's, or added to compensate for the batch ratio."""
    ratio, source = scaling.noise_ratio, f"{rules.HOFFER}: multiplicative noise"
    if ratio is None:
        return []
    matched = scaling.request.target_batch_size / ratio
    validity = f"the gradient's covariance is that of batches of {matched:g}, except for g g^T"
    if scaling.request.noise is None:
        kept = Rule("kept", "loss = mean(z_n l_n), var z_n = ratio - 1", source, validity)
        return [changed("gradient_noise.ratio", ratio, ratio, kept)]
    if scaling.request.noise == "gaussian":
        validity += "; many weights are negative if r is large"
    return [
        changed(
            "gradient_noise.kind", None, scaling.request.noise,
            Rule("multiplicative noise", "law of z_n", source, validity),
        ),
        changed(
            "gradient_noise.ratio", None, ratio,
            Rule("multiplicative noise", "loss = mean(z_n l_n), var z_n = r - 1", source, validity),
        ),
    ]  # fmt: skip


_CONTROLS = {
    "dropout": (
        "x -> x m / (1 - p), P(m = 0) = p",
        f"{rules.SRIVASTAVA}; in the last fully connected layer, after every batch norm: {rules.LI}",
    ),
    "label_noise": ("a label is drawn from all K classes with probability p", rules.XIE),
    "drop_connect": (
        "w -> w m / (1 - p), P(m = 0) = p",
        f"{rules.WAN}, with a mask per example, here one per update; in the last fully connected layer, "
        f"after every batch norm: {rules.LI}",
    ),
}
_NO_SUBSTITUTE = (
    f"its structure differs from a batch's noise, which it cannot replace: it did not reduce the gap ({rules.HOFFER})"
)


def regularization_lines(scaling: Scaling) -> list[Adjustment]:
    """Regularization: the baseline's, or as requested; no line without any."""
    lines = []
    for what, (formula, source) in _CONTROLS.items():
        before, asked = getattr(scaling.baseline, what), getattr(scaling.request, what)
        if before or asked is not None:
            rule = Rule("kept" if asked is None else "as requested", formula, source, _NO_SUBSTITUTE)
            after = before if asked is None else asked
            lines.append(changed(f"regularization.{what}", before, after, rule, "probability"))
    return lines


_BY_DISTANCE = Rule(
    "by weight distance", "||w_t - w_0|| of the baseline", f"{rules.HOFFER}: its advice for the drops",
    "drops come at these distances, at the latest at the updates above; all that follows moves with them",
)  # fmt: skip


def distance_lines(scaling: Scaling) -> list[Adjustment]:
    """The weight distances at which milestones come early: the baseline's own, or as requested."""
    before, asked = scaling.baseline.milestone_distances, scaling.request.distances
    after, rule = (before, replace(_BY_DISTANCE, name="kept")) if asked is None else (asked.at_milestones, _BY_DISTANCE)
    if not any(distance is not None for distance in after):
        return []
    cadence = Rule("with the schedule", updates_formula(scaling), rules.OWN_CHOICE, "as many checks as before")
    every = scaling.lengths(scaling.baseline.distance_every)
    return [
        changed("schedule.milestones.distance", before, after, rule),
        changed("schedule.distance_every_updates", *every, cadence, "updates"),
    ]
