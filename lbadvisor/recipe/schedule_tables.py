"""The tables that say how long what lasts: the schedule, its milestones, clipping.

A length is given either in epochs or in updates, never in both.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from lbadvisor.recipe.faults import Fault, one_of
from lbadvisor.recipe.recipe_model import Epochs, NonNegativeFloat, PositiveFloat, PositiveInt, RecipeModel


class Milestone(RecipeModel):
    """A change at a point of the schedule; both factors hold from that update on."""

    epoch: Epochs | None = Field(None, description="when it starts, in epochs; or give update")
    update: PositiveInt | None = Field(None, description="number of updates before it; or give epoch")
    distance: PositiveFloat | None = Field(
        None, description="weight distance at which it starts earlier, with all that follows it; absent: as planned"
    )
    lr_factor: PositiveFloat = Field(description="learning rate from then on, as a factor of optimizer.lr")
    weight_decay: NonNegativeFloat | None = Field(None, description="weight decay from then on; absent: unchanged")

    def _faults(self) -> Iterator[Fault]:
        yield from one_of(self, "epoch", "update", needed=True)


class Schedule(RecipeModel):
    """How long training lasts, and its learning rate over time."""

    epochs: Epochs | None = Field(None, description="length in epochs; or give updates")
    updates: PositiveInt | None = Field(None, description="length in updates; or give epochs")
    decay: Literal["milestones", "cosine", "linear", "exponential"] = Field(
        "milestones",
        description="milestones: steps at the milestones; otherwise a curve from lr to lr * final_lr_factor",
    )
    milestones: Annotated[tuple[Milestone, ...], Field(strict=False)] = Field(
        (), description="changes of learning rate or weight decay, in order"
    )
    kind: Literal["updates", "distance"] | None = Field(
        None, description="what the milestones follow, if you want that checked: distance needs one with a distance"
    )
    distance_every_updates: PositiveInt = Field(
        10, description="updates between two checks of the weight distance, if a milestone has one"
    )
    final_lr_factor: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="learning rate at the end as a factor of optimizer.lr, for cosine, linear and exponential"
    )
    warmup_epochs: Epochs | None = Field(None, description="length of the linear warm-up; or give warmup_updates")
    warmup_updates: PositiveInt | None = Field(None, description="length of the linear warm-up; or give warmup_epochs")
    warmup_lr_factor: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="the warm-up's first learning rate, as a factor"
    )

    @property
    def is_by_distance(self) -> bool:
        """Whether milestones may come early: the schedule's lengths are then the longest possible."""
        return any(milestone.distance is not None for milestone in self.milestones)

    def _faults(self) -> Iterator[Fault]:
        """The keys of a schedule mean something together."""
        decay = self.decay
        yield from one_of(self, "epochs", "updates", needed=True)
        yield from one_of(self, "warmup_epochs", "warmup_updates")
        if decay == "milestones" and self.final_lr_factor is not None:
            yield Fault(
                ("final_lr_factor",),
                'has no meaning with decay = "milestones"',
                "remove it, or set decay to cosine, linear or exponential",
            )
        if decay == "exponential" and not self.final_lr_factor:
            yield Fault(
                () if self.final_lr_factor is None else ("final_lr_factor",),
                'decay = "exponential" needs a final_lr_factor above 0',
            )
        for i, milestone in enumerate(self.milestones if decay != "milestones" else ()):
            if milestone.weight_decay is None or milestone.lr_factor != 1:
                yield Fault(
                    ("milestones", i, "lr_factor"),
                    f'a milestone of the learning rate has no meaning with decay = "{decay}"',
                    "to change the weight decay alone, set lr_factor = 1.0",
                )
        yield from self._faults_of_distances()

    def _faults_of_distances(self) -> Iterator[Fault]:
        if self.kind is not None and self.is_by_distance != (self.kind == "distance"):
            remedy = (
                "remove it, or set kind to distance"
                if self.is_by_distance
                else ("give a milestone the weight distance at which it comes, or train with --distances-from RUN")
            )
            has = "has" if self.is_by_distance else "lacks"
            yield Fault(("kind",), f'is "{self.kind}", but the schedule {has} a milestone with a distance', remedy)
        if not self.is_by_distance:
            if self.distance_every_updates != type(self).model_fields["distance_every_updates"].default:
                yield Fault(("distance_every_updates",), "has no meaning: no milestone has a distance", "remove it")
            return
        before = 0.0
        for i, milestone in enumerate(self.milestones):
            distance, path = milestone.distance, ("milestones", i, "distance")
            if distance is None:
                continue
            if self.decay != "milestones":
                yield Fault(
                    path,
                    f'has no meaning with decay = "{self.decay}", whose length must be known from the start',
                    'remove it, or set decay = "milestones"',
                )
            elif distance <= before:
                yield Fault(
                    path,
                    f"must be above the distance before it, {before:g}, is {distance:g}",
                    "remove it: the milestone then keeps its updates after the one before",
                )
            before = max(before, distance)


class Clipping(RecipeModel):
    """Clipping of the gradient's global L2 norm; without a length it lasts the whole run."""

    max_norm: PositiveFloat = Field(description="largest norm that is not clipped")
    epochs: Epochs | None = Field(None, description="length of the clipping warm-up; or give updates")
    updates: PositiveInt | None = Field(None, description="length of the clipping warm-up; or give epochs")

    def _faults(self) -> Iterator[Fault]:
        yield from one_of(self, "epochs", "updates")
