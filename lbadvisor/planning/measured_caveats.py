"""What to know once a noise scale or a sharpness is measured, or what a learning rate promises without one."""

import math
from collections.abc import Iterator

from lbadvisor.planning import rules
from lbadvisor.planning.caveat import Caveat
from lbadvisor.planning.noise_scale import MCCANDLISH, SURGE, gain, noise_scale_text, stretch, surge_factor
from lbadvisor.planning.scaling import Scaling

COHEN = "Cohen et al. 2021, arXiv:2103.00065"
_ROUNDED = 1 + 1e-9


def of_noise_scale(scaling: Scaling) -> Iterator[Caveat]:
    """Above the noise scale, an update gains less and less from more examples."""
    small, large = scaling.baseline.batch_size, scaling.request.target_batch_size
    known = scaling.request.known.noise_scale
    if known is None or large <= known.examples:
        return
    worth, stretched = gain(known.examples, small, large), stretch(known.examples, small, large)
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
        f"the batch of {large:,} is above the noise scale of {noise_scale_text(known)}: an update is worth "
        f"G = {worth:.3g} of the baseline's, not r = {scaling.batch_ratio:.3g}, and at any batch size at most "
        f"{1 + known.examples / small:.3g}; as much progress takes r/G = {stretched:.3g} times the epochs "
        f"({MCCANDLISH}); {best}",
    )


def of_stability(scaling: Scaling) -> Iterator[Caveat]:
    """Gradient descent diverges on a quadratic above lr = 2(1 + momentum)/lambda, whatever the batch.

    A plan does not know lambda: it warns if the rate grows by more than the noise of the batches falls, which alone
    says nothing of lambda.
    """
    baseline, root = scaling.baseline, math.sqrt(scaling.batch_ratio)
    beyond_noise = scaling.lr_factor > root * _ROUNDED and scaling.request.lr_rule != rules.FINITE_POPULATION
    if baseline.lr is None or not beyond_noise:
        return
    lr, momentum = baseline.lr * scaling.lr_factor, baseline.momentum or 0.0
    formula = f"2 (1 + {momentum:g}) / lr" if momentum else "2 / lr"
    yield Caveat(
        "lr-and-stability",
        f"the learning rate {lr:.4g} is {scaling.lr_factor:.3g} times the baseline's, more than the square root's "
        f"{root:.3g}; whatever the batch, gradient descent is stable only while the Hessian's largest eigenvalue is "
        f"below {formula} = {2 * (1 + momentum) / lr:.3g} ({COHEN}): measure it with `lbadvisor probe sharpness`",
    )
