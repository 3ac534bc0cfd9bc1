"""A Gaussian process over the space, averaged over its settings instead of fitting them.

Values are a polynomial, plus a departure from it with a Matern kernel of smoothness 5/2, plus independent noise; each
dimension is scaled to -1..1. The departure's length scale and height and the noise are weighted by how likely they make
the trials: with a dozen trials, the likeliest setting alone would be overconfident. N trials, Q queried places,
L length scales, K heights and noises for each, S samples or settings, D dimensions.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.gaussian_process.kernels import Matern
from threadpoolctl import ThreadpoolController

from lbadvisor.refine.evidence import Evidence
from lbadvisor.refine.search_space import Point, SearchSpace

Array = npt.NDArray[np.floating[Any]]

LENGTH_SCALES = (0.4, 0.6, 0.9, 1.4, 2.0, 3.0)
HEIGHTS = (0.25, 0.5, 1.0, 2.0)
NOISES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.1)
"""In standard deviations of the trials' values: equally likely a priori."""
TREND = 0.5
"""The standard deviation of the polynomial's coefficients, in heights of the departure."""
DEGREE = 4
"""Degree of the polynomial. A quadratic would assume a symmetric valley: with sides of curvature 2 and 12, its 95%
intervals contained the best exponent in 66 of 100 studies (tests/benchmarks/refine_coverage.py). Without a polynomial
the process would forget, away from the trials, that the value rises on both sides."""
JITTER = 1e-6
"""Added variance: without it, the covariance of close places would not have full rank."""


@dataclass(frozen=True, slots=True)
class Process:
    """The fit to the evidence: values are `scale` * (units of the process) + `centre`, in logarithms.

    `heights_K` are variances; `lower_LKNN` the Cholesky factors of the trials' covariance, `white_LKN` the values
    whitened by them; `weights_LK` sum to 1.
    """

    space: SearchSpace
    unit_ND: Array
    centre: float
    scale: float
    heights_K: Array
    lower_LKNN: Array
    white_LKN: Array
    weights_LK: Array


def one_thread() -> AbstractContextManager[object]:
    """While entered, BLAS uses one thread: the matrices are small, and a second thread would only wait."""
    limited: AbstractContextManager[object] = _threads().limit(limits=1, user_api="blas")
    return limited


@cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


def process_of(found: Evidence, space: SearchSpace) -> Process:
    """Fit the evidence."""
    logs_N = np.array(found.logs)
    centre, scale = float(logs_N.mean()), float(logs_N.std()) or 1.0
    y_N, least = (logs_N - centre) / scale, found.least_noise / scale
    unit_ND = _scaled(space, found.points)
    noises = sorted({max(noise, least) for noise in NOISES})
    settings = list(itertools.product(HEIGHTS, noises))
    heights_K = np.array([height**2 for height, _ in settings])
    noise_K = np.array([noise**2 for _, noise in settings])
    prior_LKNN = np.stack([_prior(heights_K, length, unit_ND, unit_ND) for length in LENGTH_SCALES])
    lower_LKNN = np.linalg.cholesky(prior_LKNN + noise_K[:, None, None] * np.eye(len(y_N)))
    white_LKN: Array = np.linalg.solve(lower_LKNN, np.broadcast_to(y_N[:, None], (*lower_LKNN.shape[:3], 1)))[..., 0]
    determinants_LK = np.log(np.diagonal(lower_LKNN, axis1=-2, axis2=-1)).sum(-1)
    evidence_LK = -0.5 * (white_LKN**2).sum(-1) - determinants_LK
    weights_LK = np.exp(evidence_LK - evidence_LK.max())
    weights_LK /= weights_LK.sum()
    return Process(space, unit_ND, centre, scale, heights_K, lower_LKNN, white_LKN, weights_LK)


def mean(process: Process, points: Sequence[Point]) -> Array:
    """The expected value at each point (Q), over all settings."""
    weights_S, means_SQ, _ = moments(process, points)
    return weights_S @ means_SQ


def moments(process: Process, points: Sequence[Point]) -> tuple[Array, Array, Array]:
    """The weight of each setting (L*K), and its mean and standard deviation at each point (L*K, Q)."""
    asked_QD = _scaled(process.space, points)
    prior_KQ = process.heights_K[:, None] * (1 + _trend(asked_QD, asked_QD).diagonal())
    conditioned = list(_conditioned(process, asked_QD))
    variance_SQ = np.concatenate([prior_KQ - (across_KNQ**2).sum(1) for _, across_KNQ in conditioned])
    means_SQ = np.concatenate([means_KQ for means_KQ, _ in conditioned])
    return process.weights_LK.ravel(), means_SQ, np.sqrt(np.maximum(variance_SQ, JITTER))


def samples(process: Process, points: Sequence[Point], count: int, rng: np.random.Generator) -> Array:
    """Samples of the noiseless value at the points (S, Q), over all settings."""
    counts_LK = rng.multinomial(count, process.weights_LK.ravel()).reshape(process.weights_LK.shape)
    asked_QD = _scaled(process.space, points)
    drawn = []
    for length, counts_K, (means_KQ, across_KNQ) in zip(
        LENGTH_SCALES, counts_LK, _conditioned(process, asked_QD), strict=True
    ):
        prior_KQQ = _prior(process.heights_K, length, asked_QD, asked_QD) + JITTER * np.eye(len(points))
        lower_KQQ = np.linalg.cholesky(prior_KQQ - across_KNQ.transpose(0, 2, 1) @ across_KNQ)
        for times, mean_Q, lower_QQ in zip(counts_K, means_KQ, lower_KQQ, strict=True):
            drawn.append(mean_Q + rng.standard_normal((int(times), len(points))) @ lower_QQ.T)
    return np.concatenate(drawn)


def _conditioned(process: Process, asked_QD: Array) -> Iterator[tuple[Array, Array]]:
    """For each length scale: the means (K, Q), and the whitened covariance of the trials and the places (K, N, Q)."""
    for length, lower_KNN, white_KN in zip(LENGTH_SCALES, process.lower_LKNN, process.white_LKN, strict=True):
        across_KNQ = np.linalg.solve(lower_KNN, _prior(process.heights_K, length, process.unit_ND, asked_QD))
        yield np.einsum("kn,knq->kq", white_KN, across_KNQ), across_KNQ


def _prior(heights_K: Array, length: float, one_ND: Array, other_QD: Array) -> Array:
    """The covariance of the values at two sets of places (K, N, Q), before there is any trial."""
    departure_NQ = Matern(length, nu=2.5)(one_ND, other_QD)
    covariance_KNQ: Array = heights_K[:, None, None] * (departure_NQ + _trend(one_ND, other_QD))
    return covariance_KNQ


def _trend(one_ND: Array, other_QD: Array) -> Array:
    """The covariance of a polynomial with normal coefficients."""
    covariance_NQ: Array = TREND**2 * (1 + one_ND @ other_QD.T) ** DEGREE
    return covariance_NQ


def _scaled(space: SearchSpace, points: Sequence[Point]) -> Array:
    return np.array(
        [[2 * d.unit(value) - 1 for d, value in zip(space.dimensions, point, strict=True)] for point in points]
    )
