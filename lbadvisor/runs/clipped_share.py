"""How much of a run was above its clipping threshold: if most was, the learning rate is too high."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.records.run import Measurement, told

MOST_CLIPPED = 0.5
"""Share above which the learning rate is too high: Google Tuning Playbook, github google-research/tuning_playbook."""


@dataclass(frozen=True, slots=True)
class ClippedShare:
    """Share (0 to 1) of the updates after update `after` whose gradient norm was above the recipe's threshold.

    Where clipping lasts the whole run it is of all those updates; after a clipping warm-up, which does not count them,
    of the measured ones.
    """

    share: float
    after: int
    max_norm: float
    clipped: bool


def clipped_share(recipe: Recipe, updates: int, measurements: Sequence[Measurement]) -> ClippedShare | None:
    """How much of a run was above its clipping threshold, without its beginning; None if unknown.

    The beginning is the clipping warm-up, or the first tenth of a run that clips throughout. `recipe` is one in
    updates, `updates` is the run's length, and `measurements` are its own in their order.
    """
    clipping = recipe.clipping
    if clipping is None:
        return None
    if clipping.updates is not None:
        norms = [told(m.gradient_norm) for m in measurements if m.update > clipping.updates]
        if not norms:
            return None
        share = sum(norm > clipping.max_norm for norm in norms) / len(norms)
        return ClippedShare(share, clipping.updates, clipping.max_norm, clipped=False)
    # An interval counts if it begins after the first tenth.
    intervals = [
        (b.update - a.update, told(b.clipped_share)) for a, b in pairwise(measurements) if 10 * a.update >= updates
    ]
    if not intervals:
        return None
    share = sum(length * part for length, part in intervals) / sum(length for length, _ in intervals)
    began = next(m.update for m in measurements if 10 * m.update >= updates)
    return ClippedShare(share, began, clipping.max_norm, clipped=True)
