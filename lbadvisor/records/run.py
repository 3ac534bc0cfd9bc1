"""What training yields, the store keeps and comparing reads."""

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import PlainSerializer

from lbadvisor.recipe.recipe import Recipe

Moment = Annotated[datetime, PlainSerializer(datetime.isoformat)]
"""A moment, with its zone in JSON."""
WrittenRecipe = Annotated[Recipe, PlainSerializer(lambda recipe: recipe.model_dump(mode="json", exclude_none=True))]
"""A recipe; its JSON has what it sets, and nothing for what it leaves out."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What is known after one update of a run.

    `update` counts from 1; `loss` and `clipped_share` (0 to 1) are means over the updates since the measurement before;
    `lr` and `gradient_norm` (global L2, before clipping) are those of this very update; `weight_distance` is the L2
    norm of w_t - w_0; `seconds` is training time since the run began, stops not counted. A number that is not finite
    is nan or infinite; None is what a training elsewhere did not tell, or of an evaluation that was not made.
    """

    update: int
    epoch: float | None
    examples: int
    loss: float | None
    lr: float | None
    gradient_norm: float | None
    clipped_share: float | None
    weight_distance: float | None
    evaluation_loss: float | None
    evaluation_accuracy_percent: float | None
    seconds: float | None


def told(number: float | None) -> float:
    """A measurement's number; nan if it does not tell it."""
    return math.nan if number is None else number


@dataclass(frozen=True, slots=True)
class Reading:
    """The value of a further quantity after one update, or at one; `quantity` is its key in `records.quantities`.

    `part` is the part of the network that it is of, such as a group of layers; empty: all of it.
    """

    update: int
    quantity: str
    part: str
    value: float


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured at one update: the measurement, and the readings that the recipe also asks for."""

    measurement: Measurement
    readings: tuple[Reading, ...] = ()


class RunStatus(StrEnum):
    """Where a run stands.

    INTERRUPTED is never stored: so a run is read that is stored as running and that no living process trains.
    """

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"
    COMPLETE = "complete"
    DIVERGED = "diverged"
    FAILED = "failed"


class Guarantee(StrEnum):
    """What a stopped and resumed run is promised to share with one that was not.

    BIT_EXACT: every bit of the weights. SAME_ORDER: the examples of every update and all that is drawn at random; the
    bits are not, because the run resumed on another device, with other micro-batches, another torch or changed code of
    the user's, or the user's own data draw random numbers that no seed decides.
    """

    BIT_EXACT = "bit-exact"
    SAME_ORDER = "same order"


@dataclass(frozen=True, slots=True)
class Environment:
    """What a run ran on. `git_commit` is that of the working folder, None outside a repository."""

    device: str
    device_name: str
    lbadvisor_version: str
    python_version: str
    torch_version: str
    git_commit: str | None
    git_dirty: bool | None


@dataclass(frozen=True, slots=True)
class Run:
    """One training of one recipe with one seed, as stored. Times are UTC.

    It ends after `updates`; if it is scheduled by distance, at the latest, until its last milestone has come.
    Sums are split over `threads` of the CPU and into micro-batches of `micro_size` examples (None: in one piece) in
    each of the batch's `shares`; all of these decide bits, and the number of `ranks` that trained it together does not.
    `guarantee`, `threads`, `ranks` and `shares` are None for a run of a program that did not note them; the test
    numbers (mean loss, accuracy in percent) are None unless the run held out validation examples
    and was then measured on the test set.
    """

    number: int
    name: str
    recipe: WrittenRecipe
    plan_number: int | None
    seed: int
    status: RunStatus
    ended_because: str | None
    update: int
    updates: int
    environment: Environment
    created_at: Moment
    changed_at: Moment
    resumes: int
    guarantee: Guarantee | None = None
    test_loss: float | None = None
    test_accuracy_percent: float | None = None
    threads: int | None = None
    micro_size: int | None = None
    ranks: int | None = None
    shares: int | None = None

    @property
    def at_most(self) -> str:
        """What to say before its length while it may end earlier, else nothing."""
        return "at most " if self.recipe.schedule.is_by_distance and self.status is not RunStatus.COMPLETE else ""


@dataclass(frozen=True, slots=True)
class Ladder:
    """The runs of several arms, from one baseline to one target batch size, over seeds, as stored.

    `arms` holds (arm's name, run's number) for each run so far, in the order in which they joined.
    """

    number: int
    name: str
    baseline: WrittenRecipe
    target_batch_size: int
    created_at: Moment
    arms: tuple[tuple[str, int], ...]
