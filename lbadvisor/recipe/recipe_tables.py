"""The tables of a recipe: each is frozen data that is checked in itself; `coherence` checks them against one another.

A length is given either in epochs or in updates, never in both.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.fields import FieldInfo

from lbadvisor.recipe.catalog import TIMM, network_facts
from lbadvisor.recipe.faults import Fault, one_of
from lbadvisor.recipe.own_tables import Arguments, NamedByFactory, factory_faults
from lbadvisor.recipe.parts import Addition, Part
from lbadvisor.recipe.recipe_model import (
    DataName,
    Epochs,
    ModelName,
    Momentum,
    Name,
    PositiveFloat,
    PositiveInt,
    Probability,
    RecipeModel,
)
from lbadvisor.running_statistics import MOMENTUM, RunningStatistics


class Data(NamedByFactory):
    """What is trained on."""

    name: DataName = Field(
        description="data set: digits, mnist, fashion_mnist, cifar10, cifar100, or a class folder's name; with a "
        "factory, any other name, by default the factory's"
    )
    factory: str | None = Field(
        None,
        description='the user\'s own data: "module:function", which returns (training set, evaluation set), each a map-'
        "style torch Dataset of (input, target) or a pair of tensors",
    )
    train_examples: PositiveInt = Field(description="examples in the training set, N")
    validation_examples: PositiveInt | None = Field(
        None,
        description="number of training examples, besides train_examples, to hold out for evaluation, evenly by class, "
        "instead of using the test set; absent: evaluate on the test set",
    )
    augmentation: Literal["none", "pad-crop-flip", "random-resized-crop"] = Field(
        "none",
        description="pad-crop-flip: 4 pixels of zeros on each side, a random crop of the old size, a random mirror; "
        "random-resized-crop: 8 to 100% of the area, resized to image_size, a random mirror",
    )
    image_size: Annotated[int, Field(gt=0, le=4096)] | None = Field(
        None,
        description="of class folders: the side, in pixels, of the square to which each image is resized (its short "
        "side to 256/224 of it) and cropped; absent: the images are of one size",
    )
    classes: PositiveInt | None = Field(
        None,
        description="of a factory's data: the number of classes, K, if a network of `lbadvisor models` or label noise "
        "needs it; absent: that of the class numbers, if they are tensors",
    )
    arguments: Arguments = Field(Arguments(), description="keyword arguments of the factory")

    def _faults(self) -> Iterator[Fault]:
        yield from factory_faults(self.factory, self.arguments)
        if self.factory is None and self.classes is not None:
            yield Fault(("classes",), "has no effect without a factory: the data set has its classes")


class Model(NamedByFactory):
    """Which network is trained."""

    name: ModelName = Field(
        description="network, one of `lbadvisor models`, torchvision:NAME, or timm:NAME; with a factory, any other "
        "name, by default the factory's"
    )
    factory: str | None = Field(
        None, description='the user\'s own network: "module:function", which returns a torch.nn.Module'
    )
    batch_norm: bool | None = Field(
        None,
        description="of a factory's or timm's network: whether it has batch norm; absent: that is only known when it "
        "is built, and planning assumes it",
    )
    arguments: Arguments = Field(Arguments(), description="keyword arguments of the factory, or of timm.create_model")

    def _faults(self) -> Iterator[Fault]:
        is_timm = self.name.startswith(TIMM)
        yield from factory_faults(self.factory, self.arguments, alone=is_timm)
        if self.batch_norm is not None and self.factory is None and not is_timm:
            yield Fault(("batch_norm",), f"has no effect: {self.name} is a network that is known", "remove it")
        for name in self.arguments.given if self.factory is None else ():
            if name.startswith(("pretrained", "checkpoint")):
                yield Fault(("arguments", name), "has no effect: weights are drawn from the seed", "remove it")

    @property
    def has_batch_norm(self) -> bool | None:
        """Whether the network has batch norm; None if that is not known."""
        facts = network_facts(self.name)
        return self.batch_norm if facts is None else facts.batch_norm


class Batch(RecipeModel):
    """How many examples one update sees."""

    size: PositiveInt = Field(description="examples per update, B")


class BatchNorm(RecipeModel):
    """How batch norm computes its statistics."""

    ghost_batch_size: Annotated[int, Field(ge=2)] | None = Field(
        None, description="examples that share training statistics; absent: the whole batch"
    )
    momentum: Annotated[float, Field(gt=0, le=1)] = Field(
        MOMENTUM, description="weight of the new statistic at each update of the running statistics"
    )
    running_statistics: RunningStatistics = Field(
        "sequential",
        description="how a batch's ghosts update the running statistics: sequential, one update each; per-update, "
        "the same with momentum / ghosts; mean, one update with the mean of their statistics; mean-biased, the same "
        "with biased variances; total, one update with the whole batch's statistics",
    )
    recompute_at_end: bool = Field(
        False,
        description="after the last update, set the running statistics to the exact ones of the whole training set",
    )

    def _faults(self) -> Iterator[Fault]:
        """The definitions of the running statistics differ only with ghosts."""
        if self.ghost_batch_size is None and self.running_statistics != "sequential":
            yield Fault(
                ("running_statistics",),
                "has no meaning without ghost batches",
                "remove it, or set ghost_batch_size; batch.size makes the batch one ghost",
            )


@dataclass(frozen=True, slots=True)
class FirstDefault:
    """Of a field whose default has changed: the first one, which the hashes go by. A written recipe has the field."""

    value: float


def first_default(field: FieldInfo) -> FirstDefault | None:
    """The field's first default if that has changed, else None."""
    return next((one for one in field.metadata if isinstance(one, FirstDefault)), None)


LearningRate = Annotated[float, Field(gt=0, description="learning rate, after the warm-up and before any milestone")]
WeightDecay = Annotated[float, Field(ge=0, description="weight decay, on every parameter")]
Beta = Annotated[float, Field(ge=0, lt=1, description="weight of the old average at each update")]
Epsilon = Annotated[float, Field(gt=0, description="added to the denominator")]


class Sgd(RecipeModel):
    """Stochastic gradient descent, `torch.optim.SGD`."""

    name: Literal["sgd"]
    lr: LearningRate
    momentum: Momentum = Field(0.0, description="share of the last update's direction that is kept")
    nesterov: bool = Field(False, description="Nesterov's momentum; needs a momentum above 0")
    weight_decay: WeightDecay = 0.0

    def _faults(self) -> Iterator[Fault]:
        if self.nesterov and self.momentum == 0:
            yield Fault(("nesterov",), "needs a momentum above 0")


class Adam(RecipeModel):
    """Adam with L2 weight decay, `torch.optim.Adam`."""

    name: Literal["adam"]
    lr: LearningRate
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    epsilon: Epsilon = 1e-8
    weight_decay: WeightDecay = 0.0


class AdamW(RecipeModel):
    """Adam with decoupled weight decay, `torch.optim.AdamW`."""

    name: Literal["adamw"]
    lr: LearningRate
    beta1: Beta = 0.9
    beta2: Beta = 0.999
    epsilon: Epsilon = 1e-8
    weight_decay: Annotated[WeightDecay, FirstDefault(0.0)] = 0.01


class RmsProp(RecipeModel):
    """RMSprop, `torch.optim.RMSprop`; beta2 is torch's `alpha`."""

    name: Literal["rmsprop"]
    lr: LearningRate
    beta2: Beta = 0.99
    epsilon: Epsilon = 1e-8
    momentum: Momentum = Field(0.0, description="share of the last update's direction that is kept")
    weight_decay: WeightDecay = 0.0


class Adagrad(RecipeModel):
    """Adagrad, `torch.optim.Adagrad`."""

    name: Literal["adagrad"]
    lr: LearningRate
    epsilon: Epsilon = 1e-10
    weight_decay: WeightDecay = 0.0


Optimizer = Annotated[Sgd | Adam | AdamW | RmsProp | Adagrad, Field(discriminator="name")]


class GradientNoise(RecipeModel):
    """Multiplicative noise on the examples' losses, of mean 1 and variance ratio - 1."""

    kind: Literal["gaussian", "bernoulli"] = Field(
        description="gaussian: N(1, ratio - 1); bernoulli: ratio for one example in ratio, else 0"
    )
    ratio: Annotated[float, Field(gt=1, le=2**53)] = Field(
        description="ratio of this batch to the smaller one whose noise is matched, B_L/B_S"
    )


class Regularization(RecipeModel):
    """Noise unlike a batch's, drawn anew at each update; evaluation has none."""

    dropout: Probability = Field(
        0.0,
        description="probability that an input of the last fully connected layer becomes 0; the others are scaled by "
        "1 / (1 - dropout)",
    )
    label_noise: Probability = Field(
        0.0, description="probability that an update draws an example's label uniformly from all classes"
    )
    drop_connect: Probability = Field(
        0.0,
        description="probability that a weight of the last fully connected layer is 0 in an update; the others are "
        "scaled by 1 / (1 - drop_connect)",
    )


class WeightEma(RecipeModel):
    """An exponential moving average of the weights, which evaluation then uses."""

    decay: Annotated[float, Field(gt=0, lt=1)] = Field(description="weight of the old average at each update")


class Compute(RecipeModel):
    """The precision the network computes in; weights, statistics and the loss are always float32."""

    precision: Literal["float32", "bf16"] = Field(
        "float32", description="bf16: bfloat16 wherever torch.autocast supports it, in training and evaluation"
    )
    tf32: bool = Field(
        False, description="whether CUDA devices may round the factors of float32 products to TF32's 10 bits"
    )
    compile: bool = Field(
        False,
        description="whether to use torch.compile: equal up to rounding, with other dropout masks; on a CPU it needs a "
        "C++ compiler",
    )


AlsoMeasured = Literal["layers", "noise"]
"""What training measures only if the recipe asks for it."""


class Measurements(RecipeModel):
    """How often training is measured and evaluated; the last update always is both."""

    every_epochs: Epochs | None = Field(None, description="epochs between measurements; or give every_updates")
    every_updates: PositiveInt | None = Field(None, description="updates between measurements; or give every_epochs")
    evaluate_every_epochs: Epochs | None = Field(
        None, description="epochs between evaluations; or give evaluate_every_updates"
    )
    evaluate_every_updates: PositiveInt | None = Field(
        None, description="updates between evaluations; or give evaluate_every_epochs"
    )
    also: Annotated[tuple[AlsoMeasured, ...], Field(strict=False)] = Field(
        (),
        description="what else is measured: layers, the distance and norm of each group of layers' weights; noise, the "
        "gradient's squared mean and variance, at the first measurement in each 100 updates, which takes one pass of "
        "half the batch, or of a whole one if it is a single ghost or the network has dropout of its own",
    )

    def _faults(self) -> Iterator[Fault]:
        yield from one_of(self, "every_epochs", "every_updates")
        yield from one_of(self, "evaluate_every_epochs", "evaluate_every_updates")


class Checkpoints(RecipeModel):
    """How often the state is saved; it is also saved at every stop."""

    every_seconds: PositiveFloat = Field(
        120.0,
        description="seconds of training between two checkpoints; a hundred times what saving one took, if that is "
        "longer",
    )


class AdaptedFrom(RecipeModel):
    """Where an adapted recipe came from; a recipe with this table cannot be adapted again."""

    recipe: Name = Field(description="the baseline's name")
    recipe_hash: str = Field(description="the baseline's hash, SHA-256 in hexadecimal")
    batch_size: PositiveInt = Field(description="the baseline's examples per update, B_S")
    parts: Annotated[tuple[Part, ...], Field(strict=False)] = Field(description="the parts that were adapted")
    lr_rule: str = Field(description="the rule that scaled the learning rate")
    stretch_share: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="updates as a share of the baseline's, if the regime was adapted"
    )
    additions: Annotated[tuple[Addition, ...], Field(strict=False)] = Field(
        (), description="additions beyond the adaptation"
    )
    options: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (), description="further options that are not defaults, such as ghost3 or betas-keep"
    )
    distances_from: str | None = Field(
        None, description="the run of the baseline whose weight distances the milestones have"
    )
    program: str = Field(description="the program that adapted it, with its version")


class Recorded(RecipeModel):
    """What a training elsewhere was recorded with; its further keys are settings that the format has no field for.

    A recipe with this table says what another program trained, and cannot be trained here.
    """

    model_config = ConfigDict(extra="allow")

    program: Annotated[str, Field(min_length=1)] = Field(description="the program that trained it, with its version")
    unknown: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (), description="fields of this recipe whose value is not known; what stands there fills the place"
    )

    def hides(self, field: str) -> bool:
        """Whether the recipe's dotted `field` says nothing of the training: not known, or of our own trainer alone."""
        return field in self.unknown or field.startswith(("recorded.unknown[", "measurements.", "checkpoints."))

    def _faults(self) -> Iterator[Fault]:
        """A further setting is one value."""
        for key, value in (self.model_extra or {}).items():
            if not isinstance(value, str | int | float) or value in (math.inf, -math.inf) or value != value:
                yield Fault((key,), "must be a text, a finite number, true or false")
