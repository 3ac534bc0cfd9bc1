"""What training needs of a data set, wherever its images are. B examples of a batch, C channels, H height, W width."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from lbadvisor.batch_cuts import EVERYTHING
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.checkpoints.checkpoint_file import Images
from lbadvisor.training.shape import Shape

LabelledImages = tuple[Tensor, Tensor]
"""Normalized images, float32 (B, C, H, W), and their class numbers, int64 (B,), on the training's device."""


class Dataset(Protocol):
    """Images in classes: to train on, to test on and, if the recipe says so, held out of the training set.

    They are in memory (`InMemory`) or read as needed (`Streamed`); or they are the user's own (`OwnData`): inputs and
    targets of any shape and type.

    `mean_C` and `deviation_C` are those of the stored pixels (0 to 255), float32, on the training's device.
    """

    @property
    def classes(self) -> int | None:
        """The number of classes; None if it is not known, or there are none."""

    @property
    def shape(self) -> Shape:
        """Shape of one input as seen by the network, (C, H, W) of an image."""

    @property
    def train_examples(self) -> int:
        """Number of images to train on, N."""

    @property
    def test_examples(self) -> int:
        """Number of images in the test split."""

    @property
    def evaluation_examples(self) -> int:
        """Number of images to evaluate on: those held out, if any, else the test split."""

    @property
    def mean_C(self) -> Tensor:
        """The mean that normalizing subtracts."""

    @property
    def deviation_C(self) -> Tensor:
        """The deviation that normalizing divides by."""

    def training_batch(self, recipe: Recipe, seed: int, update: int, own: slice = EVERYTHING) -> LabelledImages:
        """The images of an update, augmented as the recipe says: a function of these three alone.

        Only those at the places `own` of its batch, if not all are wanted.
        """

    def evaluation_batches(self, *, test: bool = False, own: slice = EVERYTHING) -> Iterator[LabelledImages]:
        """The evaluation examples in order, cut into batches; with `test`, always the test split.

        Only those at the places `own`, if not all are wanted.
        """


def images_of(dataset: Dataset) -> Images:
    """The network's inputs from the data set."""
    mean, deviation = (tuple(values_C.tolist()) for values_C in (dataset.mean_C, dataset.deviation_C))
    return Images(dataset.shape, dataset.classes, mean, deviation)


@dataclass(frozen=True, slots=True)
class Split:
    """Images, uint8 (N, C, H, W), and their class numbers, int64 (N,)."""

    images_NCHW: Tensor
    labels_N: Tensor


@dataclass(frozen=True, slots=True)
class Preparing:
    """Progress of a data set's preparation: `done` of `total` images of one `task`; None: total unknown."""

    task: str
    done: int = 0
    total: int | None = None
