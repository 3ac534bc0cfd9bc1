"""How sharp a minimum is: the largest loss in a small box around it, and the largest curvature at it.

P parameters.
"""

import numpy as np
import numpy.typing as npt
import torch

from lbadvisor.diagnostics.landscape.landscape import Landscape
from lbadvisor.errors import LbadvisorError
from lbadvisor.recipe.recipe_tables import Optimizer, Sgd
from lbadvisor.training.seeds import generator

Vector = npt.NDArray[np.float64]
EPSILON = 1e-3
"""Half the side of the box, in units of |w_i| + 1."""
ITERATIONS = 10
"""Of L-BFGS-B: on the digits, ten times as many raise the maximum by 1%."""
EIGENVALUE_TOLERANCE = 1e-3
"""Relative; float32 derivatives are far more exact."""
MOST_RESTARTS = 100


def sharpness_percent(landscape: Landscape, epsilon: float = EPSILON, seed: int = 0) -> float:
    """Keskar's sharpness: 100 (max f - f)/(1 + f), the maximum over all w + y with |y_i| <= epsilon (|w_i| + 1).

    In the full space (Keskar et al. 2017, arXiv:1609.04836, with A the identity). The maximum is what scipy's L-BFGS-B
    finds in ten iterations from a random point of the box, so it may be too low. It works in units of the box, and in
    units of the first gradient's mean size: a step then reaches the walls.
    """
    from scipy.optimize import Bounds, minimize

    weights_P = landscape.weights_P
    half_P = epsilon * (weights_P.abs() + 1)

    def loss_at(place: Vector) -> tuple[float, Vector]:
        loss, gradient_P = landscape.gradient(weights_P + torch.from_numpy(place).to(half_P) * half_P)
        return loss, (gradient_P * half_P).cpu().numpy()

    start = 2 * torch.rand(len(weights_P), generator=generator(seed, "sharpness", 0), dtype=torch.float64).numpy() - 1
    center = landscape.loss(weights_P)
    scale = float(np.abs(loss_at(start)[1]).mean())
    if scale == 0:
        return 0.0

    def descending(place: Vector) -> tuple[float, Vector]:
        loss, gradient = loss_at(place)
        return -(loss - center) / scale, -gradient / scale

    options = {"maxiter": ITERATIONS, "ftol": 0.0, "gtol": 0.0}
    found = minimize(descending, start, jac=True, method="L-BFGS-B", bounds=Bounds(-1, 1), options=options)
    # The box holds the weights themselves.
    return 100 * max(0.0, -float(found.fun) * scale) / (1 + center)


def largest_eigenvalue(landscape: Landscape, seed: int = 0) -> float:
    """The largest eigenvalue of the loss's Hessian at the weights, by Lanczos (ARPACK's `eigsh`), to 0.1%.

    Raises `LbadvisorError` if that does not converge.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    weights_P = landscape.weights_P
    count = len(weights_P)

    def product(vector: Vector) -> Vector:
        direction_P = torch.from_numpy(np.array(vector).reshape(-1)).to(weights_P)
        return landscape.curvature(weights_P, direction_P).cpu().numpy()

    start = torch.randn(count, generator=generator(seed, "eigenvalue", 0), dtype=torch.float64).numpy()
    hessian = LinearOperator((count, count), matvec=product, dtype=np.float64)
    try:
        found = eigsh(
            hessian,
            k=1,
            which="LA",
            v0=start,
            tol=EIGENVALUE_TOLERANCE,
            maxiter=MOST_RESTARTS,
            return_eigenvectors=False,
        )
    except ArpackNoConvergence as error:
        raise LbadvisorError(
            f"the largest eigenvalue was not found in {MOST_RESTARTS} restarts of Lanczos: give other --examples"
        ) from error
    return float(found[0])


def largest_stable_lr(optimizer: Optimizer, eigenvalue: float) -> float | None:
    """The learning rate up to which gradient descent holds a minimum of this curvature; None if not SGD, or flat.

    On a quadratic of curvature lambda: 2/lambda without momentum, 2(1 + mu)/lambda with it (the heavy ball),
    2(1 + mu)/((1 + 2 mu) lambda) with Nesterov's: |trace| < 1 + determinant of the update's 2x2 matrix (own algebra;
    Cohen et al. 2021, arXiv:2103.00065, find that full-batch training hovers at 2/lr). Adaptive optimizers rescale the
    curvature, so theirs is another one.
    """
    if not isinstance(optimizer, Sgd) or eigenvalue <= 0:
        return None
    momentum = optimizer.momentum
    return 2 * (1 + momentum) / (1 + 2 * momentum if optimizer.nesterov else 1) / eigenvalue
