"""What a request adds to the paper's adaptation, line by line: a warm-up, multiplicative noise, regularization.

Goyal's rule needs the first, the paper names the second as its other way, and the third are its negative controls.
"""

from lbadvisor.advisor import rules
from lbadvisor.advisor.adjustments import Adjustment, Request, lr_factor_of, updates_factor_of
from lbadvisor.advisor.baseline import Baseline
from lbadvisor.advisor.parts import Addition
from lbadvisor.errors import PlanError


def additions_of(baseline: Baseline, request: Request) -> tuple[Addition, ...]:
    """What the request adds to this baseline; a warm-up that the baseline has is kept, and none is added."""
    asked: dict[Addition, bool] = {
        "warm-up": request.warmup_epochs is not None and baseline.warmup_updates is None,
        "noise": request.noise is not None,
        "dropout": request.dropout is not None,
        "label-noise": request.label_noise is not None,
        "drop-connect": request.drop_connect is not None,
    }
    return tuple(addition for addition, given in asked.items() if given)


def check_additions(baseline: Baseline, request: Request) -> None:
    """Raise `PlanError` where an addition or the stretch's share makes no sense with the rest of the request."""
    share, ratio = request.stretch_share, request.target_batch_size / baseline.batch_size
    if share != 1 and "regime" not in request.parts:
        raise PlanError(f"a stretch share of {share:g} is one of the regime's stretch: adapt regime as well")
    if not 1 / ratio <= share <= 1:
        raise PlanError(
            f"a stretch share of {share:g} does not lie between 1/r = {1 / ratio:g}, where the epochs stay, and 1, "
            "where the updates do"
        )
    if request.warmup_epochs is not None and request.warmup_epochs <= 0:
        raise PlanError(f"a warm-up of {request.warmup_epochs:g} epochs is none: it must be above 0")
    if request.warmup_epochs is not None and lr_factor_of(baseline, request) <= 1:
        raise PlanError("a warm-up leads from the baseline's learning rate to a higher one: adapt lr as well")
    if request.noise is not None and baseline.noise_ratio is not None:
        raise PlanError(
            f"the baseline has multiplicative noise of ratio {baseline.noise_ratio:g} already: take its "
            "[gradient_noise] out, or add none"
        )
    if request.noise is not None and ratio == 1:
        raise PlanError("multiplicative noise makes up for a larger batch: the target is the baseline's own")
    for what in ("dropout", "label_noise", "drop_connect"):
        probability = getattr(request, what)
        if probability is not None and not 0 <= probability < 1:
            raise PlanError(f"{what} is a probability: it lies between 0 and below 1, and is {probability:g}")


def warmup_lines(baseline: Baseline, request: Request) -> list[Adjustment]:
    """Goyal's gradual warm-up, from the baseline's learning rate to the scaled one."""
    if "warm-up" not in additions_of(baseline, request) or request.warmup_epochs is None:
        return []
    epochs, length = request.warmup_epochs, None
    if baseline.examples is not None and baseline.updates is not None:
        updates = max(1, round(baseline.updates * updates_factor_of(baseline, request)))
        length = rules.lr_warmup_updates(epochs, baseline.examples, request.target_batch_size, updates)
    source = f"{rules.GOYAL}; at most a tenth of the run: {rules.PLAYBOOK}"
    return [
        Adjustment(
            "schedule.warmup_updates", None, length, "updates", "recipe", "gradual warm-up",
            f"min({epochs:g} N / B_L, updates / 10)", source,
            "5 of 90 epochs on ImageNet; a constant lower rate at first was not enough",
        ),
        Adjustment(
            "schedule.warmup_lr_factor", 0.0, 1 / lr_factor_of(baseline, request), "x optimizer.lr", "recipe",
            "gradual warm-up", "lr_S / lr_L", rules.GOYAL, "begins at the baseline's learning rate",
        ),
    ]  # fmt: skip


def noise_lines(baseline: Baseline, request: Request) -> list[Adjustment]:
    """Multiplicative noise: kept as the baseline has it, or added so that it makes up for the batch ratio."""
    formula, source = "loss = mean(z_n l_n), var z_n = ratio - 1", f"{rules.HOFFER}: multiplicative noise"
    target, ratio = request.target_batch_size, baseline.noise_ratio
    if request.noise is not None:
        ratio = target / baseline.batch_size
        validity = f"the gradient's covariance is that of batches of {baseline.batch_size}, but for g g^T"
        if request.noise == "gaussian":
            validity += "; many weights are negative where r is large"
        return [
            Adjustment(
                "gradient_noise.kind", None, request.noise, "", "recipe", "multiplicative noise", "law of z_n", source,
                validity,
            ),
            Adjustment(
                "gradient_noise.ratio", None, ratio, "", "recipe", "multiplicative noise",
                "loss = mean(z_n l_n), var z_n = r - 1", source, validity,
            ),
        ]  # fmt: skip
    if ratio is None:
        return []
    return [
        Adjustment(
            "gradient_noise.ratio", ratio, ratio, "", "recipe", "kept", formula, source,
            f"the gradient's covariance is that of batches of {target / ratio:g}, but for g g^T",
        )
    ]  # fmt: skip


_CONTROLS = {
    "dropout": (
        "x -> x m / (1 - p), P(m = 0) = p",
        f"{rules.SRIVASTAVA}; in the last fully connected layer, behind every batch norm: {rules.LI}",
    ),
    "label_noise": ("a label is drawn from all K classes with probability p", rules.XIE),
    "drop_connect": (
        "w -> w m / (1 - p), P(m = 0) = p",
        f"{rules.WAN}, there a mask for each example, here one for an update; in the last fully connected layer, "
        f"behind every batch norm: {rules.LI}",
    ),
}


def regularization_lines(baseline: Baseline, request: Request) -> list[Adjustment]:
    """Regularization: kept as the baseline has it, or as asked; it changes no line where there is none of it."""
    lines = []
    for what, (formula, source) in _CONTROLS.items():
        before, asked = getattr(baseline, what), getattr(request, what)
        if before or asked is not None:
            lines.append(
                Adjustment(
                    f"regularization.{what}", before, before if asked is None else asked, "probability", "recipe",
                    "kept" if asked is None else "as asked", formula, source,
                    "noise of another structure than a batch's, which it cannot replace: it did not reduce the gap "
                    f"({rules.HOFFER})",
                )
            )  # fmt: skip
    return lines
