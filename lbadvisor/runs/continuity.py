"""Checks that a resumed run continues where it stopped, by comparing its first loss with those before."""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

WINDOW = 20
"""Number of last changes of the loss before the stop, between neighbouring measurements, that set the usual size."""
FEWEST = 8
"""With fewer changes, nothing is reported."""
DEVIATIONS = 6.0
"""A rise is a jump if it lies so many standard deviations of the usual changes above their mean.

Own choice. If the changes were independent and normal, the rise would be a jump by chance in one resume of 2 600 with 8
changes known (Student's t, 7 degrees: 6/sqrt(1 + 1/8)), and in one of 170 000 with 20.
"""


@dataclass(frozen=True, slots=True)
class Jump:
    """A rise of the loss too large to be chance: the last loss before a stop and the first one after it."""

    before: float
    after: float
    deviations: float


def loss_jump(before: Sequence[float], after: float) -> Jump | None:
    """The jump from the losses measured `before` a stop (in order) to the first one `after` it, if it is one.

    A fall is none: a milestone of the learning rate makes them. Idea: LossContinuityGuard, The-School-of-AI/LLM PR 563;
    threshold: `DEVIATIONS`.
    """
    losses = [loss for loss in before[-WINDOW - 1 :] if math.isfinite(loss)]
    changes = [later - earlier for earlier, later in itertools.pairwise(losses)]
    if len(changes) < FEWEST or not math.isfinite(after):
        return None
    rise, usual = after - losses[-1], statistics.fmean(changes)
    deviation = statistics.stdev(changes)
    if rise <= 0 or rise - usual <= DEVIATIONS * deviation:
        return None
    return Jump(losses[-1], after, (rise - usual) / deviation if deviation else math.inf)
