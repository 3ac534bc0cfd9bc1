"""Finding a recipe's data set, and preparing it."""

import os
from collections.abc import Generator
from pathlib import Path

import platformdirs
import torch

from lbadvisor.advisor.catalog import DATASETS
from lbadvisor.advisor.recipe import Recipe
from lbadvisor.errors import DataError
from lbadvisor.training import sources
from lbadvisor.training.class_folders import chosen, read_class_folders
from lbadvisor.training.dataset import Dataset, Preparing, Split
from lbadvisor.training.decoding import size_of
from lbadvisor.training.held_out import parted
from lbadvisor.training.in_memory import in_memory
from lbadvisor.training.normalization import imagenet_statistics, statistics_of
from lbadvisor.training.packing import counted, packed
from lbadvisor.training.streaming import Streamed

PACKED_SHARE = 0.25
"""A class folder is kept decoded where that takes at most this share of the machine's memory. It decides how fast the
images come, never which: so it may differ between machines, and between the parts of a resumed run."""


def default_data_dir() -> Path:
    """LBADVISOR_DATA, else the user's cache folder."""
    given = os.environ.get("LBADVISOR_DATA")
    return Path(given) if given else Path(platformdirs.user_cache_dir("lbadvisor")) / "data"


def load_dataset(recipe: Recipe, data_dir: Path, device: torch.device) -> Dataset:
    """The recipe's data set, prepared in silence; `preparing` tells how far it is, what it does, and what it raises."""
    progress = preparing(recipe, data_dir, device)
    while True:
        try:
            next(progress)
        except StopIteration as end:
            dataset: Dataset = end.value
            return dataset


def preparing(
    recipe: Recipe,
    data_dir: Path,
    device: torch.device,
    *,
    workers: int | None = None,
    packed_at_most_bytes: float | None = None,
) -> Generator[Preparing, None, Dataset]:
    """The recipe's data set; first, where that takes time, how far its preparation is.

    It is looked for as torchvision lays it out, then as class folders `NAME/{train,test}/CLASS/*`, then downloaded by
    torchvision. Class folders are decoded once and packed into a file in the user's cache folder, unless that is larger
    than `packed_at_most_bytes` (`PACKED_SHARE` of the memory if not given) or each epoch wants other pixels
    (random-resized-crop): then they are streamed. `workers` threads decode, as many as there are CPUs if not given.

    Where the recipe holds out validation examples, they are those of `held_out` among the training images.
    Pixels are normalized by the mean and deviation of the training images, exact; with random-resized-crop, as in the
    code of Hoffer et al. 2017, by ImageNet's. Raises `DataError` where the set is not found, damaged, or of another
    size than the recipe says.
    """
    name = recipe.data.name
    workers = workers if workers is not None else os.cpu_count() or 1
    most = packed_at_most_bytes if packed_at_most_bytes is not None else PACKED_SHARE * _memory_bytes()
    splits = _in_one_piece(name, data_dir)
    if splits is None and (data_dir / name / "train").is_dir():
        return (yield from _of_class_folders(recipe, data_dir / name, device, workers, most))
    if splits is None and name in sources.TORCHVISION:
        splits = sources.from_torchvision(name, data_dir, download=True)
    if splits is None:
        known = ", ".join(DATASETS)
        raise DataError(
            f"no data set {name} in {data_dir}: looked for {data_dir / name}/train/CLASS/* and test/CLASS/*; "
            f"give the folder above it with --data-dir (sets known by name: {known})"
        )
    train, test = splits
    _check_examples(recipe, len(train.labels_N), data_dir)
    if recipe.data.validation_examples is None:
        return in_memory(train, test, device)
    kept_N, held_out_N = parted(train.labels_N, recipe.data.validation_examples)
    train, validation = (Split(train.images_NCHW[part_N], train.labels_N[part_N]) for part_N in (kept_N, held_out_N))
    return in_memory(train, test, device, validation)


def _in_one_piece(name: str, data_dir: Path) -> tuple[Split, Split] | None:
    if name == "digits":
        return sources.digits()
    return sources.from_torchvision(name, data_dir, download=False) if name in sources.TORCHVISION else None


def _of_class_folders(
    recipe: Recipe, folder: Path, device: torch.device, workers: int, packed_at_most_bytes: float
) -> Generator[Preparing, None, Dataset]:
    train, test = read_class_folders(folder)
    _check_examples(recipe, len(train.paths), folder.parent)
    validation = None
    if recipe.data.validation_examples is not None:
        # Parted as files: what is made of them is kept by the files it was made of.
        kept_N, held_out_N = parted(train.labels_N, recipe.data.validation_examples)
        train, validation = chosen(train, kept_N), chosen(train, held_out_N)
    side = recipe.data.image_size
    height, width = size_of(train.paths[0]) if side is None else (side, side)
    shape, crops = (3, height, width), recipe.data.augmentation == "random-resized-crop"
    images = sum(len(split.paths) for split in (train, test, validation) if split is not None)
    if not crops and images * 3 * height * width <= packed_at_most_bytes:
        train_split = yield from packed(train, shape, side, max(1, workers))
        test_split = yield from packed(test, shape, side, max(1, workers))
        held_out = None
        if validation is not None:
            held_out = yield from packed(validation, shape, side, max(1, workers))
        return in_memory(train_split, test_split, device, held_out)
    if crops:
        mean_C, deviation_C = imagenet_statistics()
    else:
        mean_C, deviation_C = statistics_of((yield from counted(train, shape, side, max(1, workers))))
    return Streamed(train, test, shape, side, (mean_C.to(device), deviation_C.to(device)), workers, validation)


def _check_examples(recipe: Recipe, found: int, data_dir: Path) -> None:
    held_out = recipe.data.validation_examples
    if found == recipe.data.train_examples + (held_out or 0):
        return
    said, rest = f"{recipe.data.train_examples}", found - (held_out or 0)
    if held_out is not None:
        said += f", and {held_out} held out of them for validation"
    if rest < 1:
        raise DataError(
            f"the data set {recipe.data.name} has {found} training examples, the recipe says {said}: give a smaller "
            "data.validation_examples"
        )
    raise DataError(
        f"the data set {recipe.data.name} has {found} training examples, the recipe says {said}: give --set "
        f"data.train_examples={rest}, or complete the data in {data_dir}"
    )


def _memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
