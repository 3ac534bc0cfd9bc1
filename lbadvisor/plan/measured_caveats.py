"""What to know once a noise scale or a sharpness is measured, or what a learning rate promises without one."""

import math
from collections.abc import Iterator

from lbadvisor.plan import rules
from lbadvisor.plan.caveat import Caveat
from lbadvisor.plan.noise_scale import MCCANDLISH, SURGE, gain, stretch, surge_factor
from lbadvisor.plan.scaling import Scaling

COHEN = "Cohen et al. 2021, arXiv:2103.00065"
_ROUNDED = 1 + 1e-9


def of_noise_scale(scaling: Scaling) -> Iterator[Caveat]:
    """Above the noise scale, an update gains less and less from more examples."""
    small, large = scaling.baseline.batch_size, scaling.request.target_batch_size
    known = scaling.request.known.noise_scale
    if known is None or large <= known.examples:
        return
    worth, stretched = gain(known.examples, small, large), stretch(known.examples, small, large)
    within = "" if known.low is None or known.high is None else f" (95% {known.low:,.4g} to {known.high:,.4g})"
    if scaling.optimizer.divides_by == "nothing":
        best = "the best learning rate of an update grows by G as well"
    elif scaling.optimizer.divides_by == "average" and known.examples > 0:
        factor = surge_factor(large, known.examples) / surge_factor(small, known.examples)
        best = (
            f"the best learning rate rises up to the noise scale and then falls, here to {factor:.3g} times ({SURGE})"
        )
    else:
        best = f"what the best learning rate is, no one has published for {scaling.baseline.optimizer}"
    yield Caveat(
        "above-noise-scale",
        f"the batch of {large:,} is above the noise scale of {known.examples:,.4g}{within}: an update is worth "
        f"G = {worth:.3g} of the baseline's, not r = {scaling.batch_ratio:.3g}, and at any batch size at most "
        f"{1 + known.examples / small:.3g}; as much progress takes r/G = {stretched:.3g} times the epochs "
        f"({MCCANDLISH}); {best}",
    )


def of_stability(scaling: Scaling) -> Iterator[Caveat]:
    """Gradient descent diverges on a quadratic above lr = 2(1 + momentum)/lambda, whatever the batch."""
    baseline, sharpness = scaling.baseline, scaling.request.known.sharpness
    if baseline.lr is None or not scaling.adapts_lr:
        return
    lr, root = baseline.lr * scaling.lr_factor, math.sqrt(scaling.batch_ratio)
    reach = 2 * (1 + (baseline.momentum or 0.0))
    formula = f"2 (1 + {baseline.momentum:g}) / lr" if baseline.momentum else "2 / lr"
    formula += f" = {reach / lr:.3g}"
    beyond_noise = scaling.lr_factor > root * _ROUNDED and scaling.request.lr_rule != rules.FINITE_POPULATION
    if sharpness is None and beyond_noise:
        yield Caveat(
            "lr-and-stability",
            f"the learning rate {lr:.4g} is {scaling.lr_factor:.3g} times the baseline's, more than the square root's "
            f"{root:.3g}; whatever the batch, gradient descent is stable only while the Hessian's largest eigenvalue "
            f"is below {formula} ({COHEN}): measure it with `lbadvisor probe sharpness`, and give --sharpness",
        )
    elif sharpness is not None and sharpness > reach / lr:
        yield Caveat(
            "lr-above-stability",
            f"whatever the batch, gradient descent at the learning rate {lr:.4g} is stable only while the Hessian's "
            f"largest eigenvalue is below {formula} ({COHEN}), and it is {sharpness:.3g}: the loss will rise until the "
            f"weights reach a flatter place, or diverge; {reach / sharpness:.3g} would be stable",
        )
