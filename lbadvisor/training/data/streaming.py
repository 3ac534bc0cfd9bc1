"""A data set that is too large to keep decoded: its images are read shortly before they are needed.

B examples of a batch, C channels, H height, W width.
"""

import math
import random
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from lbadvisor.batch_cuts import EVERYTHING
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.data.augment import augmented
from lbadvisor.training.data.class_folders import ClassFolder
from lbadvisor.training.data.dataset import LabelledImages
from lbadvisor.training.data.decoding import Reshape, decoded_into, fitted, random_resized_crop, unchanged
from lbadvisor.training.data.order import batch_indices
from lbadvisor.training.data.pixels import normalized
from lbadvisor.training.seeds import derived_seed
from lbadvisor.training.shape import Shape
from lbadvisor.training.transfer import sent

EVALUATION_BATCH = 250
LOOK_AHEAD_EXAMPLES = 512
"""Examples to read ahead, at least one batch: 77 MB at 224x224 pixels."""
PART = 8
"""Images that a worker decodes at a time."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A batch being decoded: the memory it is written to, and the pending work."""

    images_BCHW: Tensor
    labels_B: Tensor
    work: tuple[Future[None], ...]


class Streamed:
    """A `Dataset` of class folders whose images are decoded by threads as they are needed.

    Every image of the stream is a function of the seed and its position there: the number of workers and the point at
    which a run was stopped change nothing. (Threads suffice: decoding and resizing run outside Python's lock.) Without
    workers, the caller decodes.
    """

    def __init__(
        self,
        train: ClassFolder,
        test: ClassFolder,
        shape: Shape,
        image_size: int | None,
        statistics_C: tuple[Tensor, Tensor],
        workers: int,
        validation: ClassFolder | None = None,
    ) -> None:
        self.classes, self.shape = len(train.classes), shape
        self.mean_C, self.deviation_C = statistics_C
        self._train, self._test, self._validation, self._image_size = train, test, validation, image_size
        self._pool = ThreadPoolExecutor(workers) if workers else None
        if self._pool is not None:
            # Once the data set is dropped, or at a stop, nobody waits for what was requested ahead.
            weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)
        self._asked: dict[tuple[int, bool, int, int, int, int], _Asked] = {}

    @property
    def train_examples(self) -> int:
        """Number of images to train on."""
        return len(self._train.paths)

    @property
    def test_examples(self) -> int:
        """Number of images in the test split."""
        return len(self._test.paths)

    @property
    def evaluation_examples(self) -> int:
        """Number of images to evaluate on."""
        return len((self._validation or self._test).paths)

    def training_batch(self, recipe: Recipe, seed: int, update: int, own: slice = EVERYTHING) -> LabelledImages:
        """Normalized images (B, C, H, W), float32, and labels (B,) of an update, augmented as the recipe says.

        Raises `DataError` for an image that cannot be read.
        """
        size, crops = recipe.batch.size, recipe.data.augmentation == "random-resized-crop"
        ahead = max(1, math.ceil(LOOK_AHEAD_EXAMPLES / size)) if self._pool else 0
        end = update + 1 + ahead
        if recipe.schedule.updates is not None:
            end = max(update + 1, min(end, recipe.schedule.updates))
        places = range(size)[own]
        keys = [(size, crops, seed, u, places.start, places.stop) for u in range(update, end)]
        for key in self._asked.keys() - set(keys):  # from another run, or another place in this one
            for work in self._asked.pop(key).work:
                work.cancel()
        for key in keys:
            if key not in self._asked:
                self._asked[key] = self._ask_for_update(*key)
        images_BCHW, labels_B = self._ready(self._asked.pop(keys[0]))
        return normalized(self, augmented(recipe, images_BCHW, seed, update, own)), labels_B

    def evaluation_batches(self, *, test: bool = False, own: slice = EVERYTHING) -> Iterator[LabelledImages]:
        """The evaluation examples in order, or the test split, normalized.

        Raises `DataError` for an image that cannot be read.
        """
        split = self._test if test or self._validation is None else self._validation
        asked: deque[_Asked] = deque()
        for numbers in torch.arange(len(split.paths))[own].split(EVALUATION_BATCH):
            asked.append(self._ask(split, numbers, _plain(self._image_size)))
            if len(asked) > (1 if self._pool else 0):
                yield self._evaluated(asked.popleft())
        while asked:
            yield self._evaluated(asked.popleft())

    def _evaluated(self, asked: _Asked) -> LabelledImages:
        images_BCHW, labels_B = self._ready(asked)
        return normalized(self, images_BCHW), labels_B

    def _ask_for_update(self, size: int, crops: bool, seed: int, update: int, start: int, stop: int) -> _Asked:
        reshape = _plain(self._image_size)
        if crops and self._image_size is not None:
            reshape = _cropped(self._image_size, seed, update * size + start)
        return self._ask(self._train, batch_indices(seed, update, size, self.train_examples)[start:stop], reshape)

    def _ask(self, split: ClassFolder, numbers_B: Tensor, reshape: Callable[[int], Reshape]) -> _Asked:
        images_BCHW = torch.empty(
            (len(numbers_B), *self.shape), dtype=torch.uint8, pin_memory=self.mean_C.device.type == "cuda"
        )
        pixels_BCHW, paths = images_BCHW.numpy(), [split.paths[i] for i in numbers_B.tolist()]

        def decode(start: int) -> None:
            for place in range(start, min(start + PART, len(paths))):
                decoded_into(pixels_BCHW[place], paths[place], reshape(place))

        work = []
        for start in range(0, len(paths), PART):
            if self._pool is None:
                decode(start)
            else:
                work.append(self._pool.submit(decode, start))
        return _Asked(images_BCHW, split.labels_N[numbers_B], tuple(work))

    def _ready(self, asked: _Asked) -> LabelledImages:
        """Pixels and labels of the requested images, on the device, once all are decoded."""
        for part in asked.work:
            part.result()
        device = self.mean_C.device
        return asked.images_BCHW.to(device, non_blocking=True), sent(asked.labels_B, device)


# The workers' tasks hold no reference to the data set; otherwise it could not be dropped.


def _plain(image_size: int | None) -> Callable[[int], Reshape]:
    reshape = unchanged if image_size is None else fitted(image_size)
    return lambda _: reshape


def _cropped(image_size: int, seed: int, first: int) -> Callable[[int], Reshape]:
    """The crop for each place of a batch, determined by its place in the endless stream, whatever the batch size."""
    return lambda place: random_resized_crop(image_size, random.Random(derived_seed(seed, "crop", first + place)))
