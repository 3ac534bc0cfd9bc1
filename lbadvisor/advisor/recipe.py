"""A recipe: all hyperparameters of one training, as frozen, checked data.

A length of training is given either in epochs or in updates, never in both; `schedule.in_updates` turns a recipe into
one that speaks of updates only.
"""

import hashlib
import json
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Part = Literal["lr", "ghost", "regime", "clip"]
PARTS: tuple[Part, ...] = ("lr", "ghost", "regime", "clip")

PositiveInt = Annotated[int, Field(gt=0, le=2**53)]
PositiveFloat = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=100)]


class RecipeModel(BaseModel):
    """What every table of a recipe has in common: frozen, strict about types, no unknown key, no nan."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", allow_inf_nan=False, serialize_by_alias=True, validate_default=True
    )


class Data(RecipeModel):
    """What is trained on."""

    name: Name = Field(
        description="data set: digits, mnist, fashion_mnist, cifar10, cifar100, or a class folder's name"
    )
    train_examples: PositiveInt = Field(description="examples in the training set, N")
    augmentation: Literal["none", "pad-crop-flip"] = Field(
        "none",
        description="pad-crop-flip: 4 pixels of zeros on each side, a random crop of the old size, a random mirror",
    )


class Model(RecipeModel):
    """Which network is trained."""

    name: Name = Field(description="network, one of `lbadvisor models`")


class Batch(RecipeModel):
    """How many examples one update sees."""

    size: PositiveInt = Field(description="examples per update, B")


class BatchNorm(RecipeModel):
    """How batch norm takes its statistics."""

    ghost_batch_size: Annotated[int, Field(ge=2)] | None = Field(
        None, description="examples that share training statistics; absent: the whole batch"
    )


class Sgd(RecipeModel):
    """Stochastic gradient descent, `torch.optim.SGD`."""

    name: Literal["sgd"]
    lr: PositiveFloat
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


Beta = Annotated[float, Field(ge=0, lt=1)]


class Adam(RecipeModel):
    """Adam with L2 weight decay, or AdamW with decoupled weight decay: `torch.optim.Adam`, `torch.optim.AdamW`."""

    name: Literal["adam", "adamw"]
    lr: PositiveFloat
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    epsilon: PositiveFloat = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class RmsProp(RecipeModel):
    """RMSprop, `torch.optim.RMSprop`; beta2 is torch's `alpha`."""

    name: Literal["rmsprop"]
    lr: PositiveFloat
    beta2: Beta = 0.99
    epsilon: PositiveFloat = 1e-8
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class Adagrad(RecipeModel):
    """Adagrad, `torch.optim.Adagrad`."""

    name: Literal["adagrad"]
    lr: PositiveFloat
    epsilon: PositiveFloat = 1e-10
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


Optimizer = Annotated[Sgd | Adam | RmsProp | Adagrad, Field(discriminator="name")]


def _one_of(owner: BaseModel, epochs: str, updates: str, *, needed: bool) -> None:
    given = [field for field in (epochs, updates) if getattr(owner, field) is not None]
    if len(given) == 2:
        raise ValueError(f"{epochs} and {updates} are both given: keep one")
    if needed and not given:
        raise ValueError(f"one of {epochs} and {updates} is needed")


class Milestone(RecipeModel):
    """A change at a point of the schedule; both factors hold from that update on."""

    epoch: PositiveFloat | None = None
    update: PositiveInt | None = None
    lr_factor: PositiveFloat = Field(description="learning rate from here on, as a factor of optimizer.lr")
    weight_decay: Annotated[float, Field(ge=0)] | None = Field(
        None, description="weight decay from here on; absent: unchanged"
    )

    @model_validator(mode="after")
    def _placed_once(self) -> Self:
        _one_of(self, "epoch", "update", needed=True)
        return self


class Schedule(RecipeModel):
    """How long training lasts, and its learning rate over time."""

    epochs: PositiveFloat | None = Field(None, description="length in epochs; or give updates")
    updates: PositiveInt | None = Field(None, description="length in updates; or give epochs")
    decay: Literal["milestones", "cosine", "linear", "exponential"] = Field(
        "milestones", description="milestones: steps where they say; else a curve from lr to lr * final_lr_factor"
    )
    milestones: Annotated[tuple[Milestone, ...], Field(strict=False)] = ()
    final_lr_factor: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="learning rate at the end as a factor of optimizer.lr, for cosine, linear and exponential"
    )
    warmup_epochs: PositiveFloat | None = Field(None, description="length of the linear warm-up; or warmup_updates")
    warmup_updates: PositiveInt | None = None
    warmup_lr_factor: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="the warm-up's first learning rate, as a factor"
    )

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        _one_of(self, "epochs", "updates", needed=True)
        _one_of(self, "warmup_epochs", "warmup_updates", needed=False)
        if self.decay == "milestones" and self.final_lr_factor is not None:
            raise ValueError('final_lr_factor has no meaning with decay = "milestones": give decay or take it out')
        if self.decay != "milestones" and any(m.weight_decay is None for m in self.milestones):
            raise ValueError(f'milestones of the learning rate have no meaning with decay = "{self.decay}"')
        if self.decay == "exponential" and not self.final_lr_factor:
            raise ValueError('decay = "exponential" needs a final_lr_factor above 0')
        return self


class Clipping(RecipeModel):
    """Clipping of the gradient's global L2 norm; without a length it lasts the whole run."""

    max_norm: PositiveFloat
    epochs: PositiveFloat | None = Field(None, description="length of the clipping warm-up; or updates")
    updates: PositiveInt | None = None

    @model_validator(mode="after")
    def _placed_once(self) -> Self:
        _one_of(self, "epochs", "updates", needed=False)
        return self


class WeightEma(RecipeModel):
    """An exponential moving average of the weights, which evaluation then uses."""

    decay: Annotated[float, Field(gt=0, lt=1)] = Field(description="weight of the old average at each update")


class Measurements(RecipeModel):
    """How often training is measured, and how often evaluated; the last update always is."""

    every_epochs: PositiveFloat | None = None
    every_updates: PositiveInt | None = None
    evaluate_every_epochs: PositiveFloat | None = None
    evaluate_every_updates: PositiveInt | None = None

    @model_validator(mode="after")
    def _placed_once(self) -> Self:
        _one_of(self, "every_epochs", "every_updates", needed=False)
        _one_of(self, "evaluate_every_epochs", "evaluate_every_updates", needed=False)
        return self


class Checkpoints(RecipeModel):
    """How often the state is saved; it is saved at every stop as well."""

    every_seconds: PositiveFloat = 120.0


class AdaptedFrom(RecipeModel):
    """Where an adapted recipe came from; its presence forbids a second adaptation."""

    recipe: Name
    recipe_hash: str
    batch_size: PositiveInt
    parts: Annotated[tuple[Part, ...], Field(strict=False)]
    lr_rule: str
    program: str


class Recipe(RecipeModel):
    """All hyperparameters of one training."""

    schema_version: Literal[1] = Field(alias="schema", description="version of this format")
    name: Name
    description: str = ""
    data: Data
    model: Model
    batch: Batch
    optimizer: Optimizer
    schedule: Schedule
    batch_norm: BatchNorm = BatchNorm()
    clipping: Clipping | None = None
    weight_ema: WeightEma | None = None
    measurements: Measurements = Measurements(every_epochs=0.25, evaluate_every_epochs=1.0)
    checkpoints: Checkpoints = Checkpoints()
    adapted_from: AdaptedFrom | None = None


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 of all that decides a run's result, in hexadecimal: everything but the recipe's description."""
    body = recipe.model_dump(mode="json", exclude={"description"})
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
