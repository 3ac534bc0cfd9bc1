"""How often the 95% intervals of `refine` hold the truth, over studies whose training is replaced by a known response.

Run by hand: `python tests/benchmarks/refine_coverage.py [--studies 200] [--seed 0] [--only NAME]`; a study takes about
0.2 s, with OMP_NUM_THREADS=1. The product's own functions propose the points and make the estimate. A response gives
the logarithm of the expected value at an exponent; a run adds normal noise to it, and is infinite if it diverges. If
all exponents are equally good, the coverage is the mean share of them that the interval holds.
"""

import argparse
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lbadvisor.refine.estimate import estimate, paired
from lbadvisor.refine.proposal import propose, theories
from lbadvisor.refine.refinement import ExponentEstimate, Measure, Outcome, PairedGain, Trial
from lbadvisor.refine.search_space import Dimension, SearchSpace

SPACE = SearchSpace((Dimension("exponent", 0.0, 1.0, 0.5),))
MEASURE = Measure("loss", classes=10)
TRIALS = 12
LEAST_LOSS = 0.1
SEEDS_NOISE = 0.25
"""What the runs of one seed have in common, in all trials; only where there are several seeds."""


@dataclass(frozen=True, slots=True)
class Response:
    """log(value/0.1) over the exponent, where it is lowest (None: everywhere), and the noise of one run."""

    log_value: Callable[[float], float]
    best: float | None
    noise: float = 0.25
    seeds: int = 1


def bowl(best: float, left: float, right: float | None = None) -> Callable[[float], float]:
    """A quadratic of the exponent; with another curvature on the right."""
    return lambda a: (left if right is None or a < best else right) * (a - best) ** 2


def broken(value: Callable[[float], float], edge: float, to: float = math.inf) -> Callable[[float], float]:
    """The same, but `to` above the edge."""
    return lambda a: to if a > edge else value(a)


def flat(exponent: float) -> float:  # noqa: ARG001
    """All exponents are equally good."""
    return 0.0


RESPONSES = {
    "quadratic, curvature 2": Response(bowl(0.4, 2), 0.4),
    "quadratic, curvature 6": Response(bowl(0.4, 6), 0.4),
    "quadratic, curvature 20": Response(bowl(0.4, 20), 0.4),
    "curvature 6, noise 0.05": Response(bowl(0.4, 6), 0.4, 0.05),
    "curvature 6, 3 seeds": Response(bowl(0.4, 6), 0.4, 0.25, 3),
    "asymmetric, 2 and 12": Response(bowl(0.6, 2, 12), 0.6),
    "asymmetric, 12 and 2": Response(bowl(0.4, 12, 2), 0.4),
    "flat": Response(flat, None),
    "flat, 3 seeds": Response(flat, None, 0.25, 3),
    "cliff, curvature 2": Response(broken(bowl(0.7, 2), 0.85), 0.7),
    "cliff, curvature 4": Response(broken(bowl(0.7, 4), 0.85), 0.7),
    "cliff, curvature 12": Response(broken(bowl(0.7, 12), 0.85), 0.7),
    "cliff, noise 0.05": Response(broken(bowl(0.7, 4), 0.85), 0.7, 0.05),
    "cliff, 3 seeds": Response(broken(bowl(0.7, 4), 0.85), 0.7, 0.25, 3),
    "cliff at the best": Response(broken(bowl(0.7, 4), 0.7), 0.7),
    "cliff to guessing": Response(broken(bowl(0.7, 4), 0.85, math.log(math.log(10) / LEAST_LOSS)), 0.7),
}


@dataclass(frozen=True, slots=True)
class Study:
    """The estimate of one study, and what is true of it: the gain of the chosen point, as a ratio and a difference."""

    found: ExponentEstimate
    paired: PairedGain | None
    true_gain: float
    true_gain_percent: float


def study(response: Response, seed: int) -> Study:
    """One study of twelve trials, and what is estimated from it."""
    draws = np.random.default_rng(seed)
    common = SEEDS_NOISE * draws.standard_normal(response.seeds) * (response.seeds > 1)
    trials: list[Trial] = []
    while len(trials) < TRIALS:
        point = propose(SPACE, theories(SPACE), trials, (), MEASURE, seed)
        assert point is not None
        logs = response.log_value(point[0]) + common + response.noise * draws.standard_normal(response.seeds)
        values = tuple(LEAST_LOSS * math.exp(log) for log in logs.tolist())
        trials.append(Trial(len(trials), point, Outcome(values)))
    found = estimate(trials, SPACE, MEASURE)
    assert found is not None
    theory, chosen = (LEAST_LOSS * math.exp(response.log_value(point[0])) for point in (SPACE.theory, found.chosen))
    pairs = paired(trials, SPACE, MEASURE, found.chosen)
    return Study(found, pairs, theory - chosen, 100 * (1 - chosen / theory))


def coverage(response: Response, studies: Sequence[Study]) -> float:
    """The share of the studies whose interval holds the best exponent, in percent."""
    if response.best is None:
        return 100 * statistics.fmean(s.found.high - s.found.low for s in studies)
    return 100 * statistics.fmean(s.found.holds(response.best) for s in studies)


def row(response: Response, studies: Sequence[Study]) -> str:
    """The line of the table."""
    widths = [s.found.high - s.found.low for s in studies]
    best = 0.5 if response.best is None else response.best
    bias = statistics.fmean(s.found.exponent - best for s in studies)
    too_high = 100 * statistics.fmean(s.found.gain_low > s.true_gain + 1e-9 for s in studies)
    kept = 100 * statistics.fmean(not s.found.gain_is_certain or s.found.chosen == SPACE.theory for s in studies)
    pairs = [s.paired.low_percent > s.true_gain_percent + 1e-9 for s in studies if s.paired is not None]
    in_pairs = f"{100 * statistics.fmean(pairs):.1f}% of {len(pairs)}" if pairs else ""
    return (
        f"{coverage(response, studies):7.1f}% {statistics.median(widths):7.2f} {bias:+7.3f} {kept:7.1f}% "
        f"{too_high:7.1f}%  {in_pairs}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="NAME", default="")
    words = parser.parse_args()
    print(f"{words.studies} studies of {TRIALS} trials each, seeds from {words.seed}; intervals are nominally 95%,")
    print("so 2.5% of those of a gain may lie above the truth")
    print(f"{'response':24} coverage   width    bias 0.5 kept  gain too high, in pairs")
    for name, response in RESPONSES.items():
        if words.only in name:
            studies = [study(response, seed) for seed in range(words.seed, words.seed + words.studies)]
            print(f"{name:24} {row(response, studies)}", flush=True)


if __name__ == "__main__":
    main()
