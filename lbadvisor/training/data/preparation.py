"""Finding a recipe's data set, and preparing it."""

import os
from collections.abc import Generator
from pathlib import Path

import platformdirs
import torch
from torch import Tensor

from lbadvisor.errors import DataError, RecipeError, RecipeProblem, UsageError, reason_of
from lbadvisor.recipe.catalog import DATASETS
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.data import sources
from lbadvisor.training.data.class_folders import chosen, read_class_folders
from lbadvisor.training.data.dataset import Dataset, Preparing, Split
from lbadvisor.training.data.decoding import size_of
from lbadvisor.training.data.held_out import parted
from lbadvisor.training.data.in_memory import in_memory
from lbadvisor.training.data.one_at_a_time import one_at_a_time
from lbadvisor.training.data.own_data import own_data
from lbadvisor.training.data.packing import counted, packed
from lbadvisor.training.data.pixels import imagenet_statistics, statistics_of
from lbadvisor.training.data.streaming import Streamed
from lbadvisor.training.out_of_memory import naming_memory
from lbadvisor.training.own_code import CodeFolders
from lbadvisor.training.ranks import ranks_here

PACKED_SHARE = 0.25
"""A class folder is kept decoded if that takes at most this share of the machine's memory. This affects how fast images
arrive, never which: so it may differ between machines, and between the parts of a resumed run."""


def default_data_dir() -> Path:
    """LBADVISOR_DATA, else a folder in the user's cache, which is created by the first download."""
    given = os.environ.get("LBADVISOR_DATA")
    return Path(given) if given else _cache_dir()


def _cache_dir() -> Path:
    return Path(platformdirs.user_cache_dir("lbadvisor")) / "data"


def load_dataset(recipe: Recipe, data_dir: Path, device: torch.device, code: CodeFolders = None) -> Dataset:
    """The recipe's data set, prepared silently; `preparing` also yields progress, and says what is done and raised."""
    progress = preparing(recipe, data_dir, device, code=code)
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
    code: CodeFolders = None,
) -> Generator[Preparing, None, Dataset]:
    """Prepares the recipe's data set: yields the progress, and returns the data set.

    It is looked for as torchvision lays it out, then as class folders `NAME/{train,test}/CLASS/*` (or `val` instead of
    `test`) in `data_dir`, then as such splits in `data_dir` itself, then downloaded by torchvision. Class folders are
    decoded once and packed into a file in the user's cache folder, unless that is larger than `packed_at_most_bytes`
    (default: `PACKED_SHARE` of the memory) or each epoch needs other pixels (random-resized-crop): then they are
    streamed. `workers` threads decode (default: one per CPU), which the ranks of a machine divide. What several
    processes need is downloaded and packed by one of them.

    If the recipe has a factory, its data are used as they are: see `own_data`. `code` says whether it may be run.

    If the recipe holds out validation examples, `held_out` picks them among the training images. Pixels are normalized
    with the exact mean and deviation of the training images; with random-resized-crop, as in the code of Hoffer et al.
    2017, with ImageNet's. Raises `DataError` if the set is missing, damaged, or has a single class, `UsageError` if
    `data_dir` does not exist, `RecipeError` if the set's size is not the recipe's, and `OutOfMemoryError`.
    """
    name = recipe.data.name
    workers = workers if workers is not None else os.cpu_count() or 1
    most = packed_at_most_bytes if packed_at_most_bytes is not None else PACKED_SHARE * _memory_bytes()
    yield Preparing(f"reading {name}")
    with naming_memory(f"the data set {name} does not fit into memory: free some"):
        if recipe.data.factory is not None:
            return own_data(recipe, device, code)
        if name == "digits":
            return _in_one_piece(recipe, sources.digits(), "scikit-learn", device)
        _require_folder(data_dir)
        known = name in sources.TORCHVISION
        splits = (yield from _of_torchvision(name, data_dir)) if known else None
        folder = None if splits is not None else _with_splits(name, data_dir)
        if folder is not None:
            return (yield from _of_class_folders(recipe, folder, device, workers, most))
        if splits is None and known:
            splits = yield from _of_torchvision(name, data_dir, download=True)
        if splits is None:
            raise DataError(
                f"no data set {name} in {data_dir}: looked for {data_dir / name}/train/CLASS/* and "
                f"{data_dir}/train/CLASS/*; give its folder, or the one above it, with --data-dir (sets known by "
                f"name: {', '.join(DATASETS)})"
            )
        return _in_one_piece(recipe, splits, str(data_dir), device)


def _of_torchvision(
    name: str, data_dir: Path, *, download: bool = False
) -> Generator[Preparing, None, tuple[Split, Split] | None]:
    """Both splits; None if they are missing and not to be downloaded. Another process's download is waited for."""

    def found() -> Generator[Preparing, None, tuple[Split, Split] | None]:
        yield Preparing(f"downloading {name}" if download else f"reading {name}")
        return sources.from_torchvision(name, data_dir, download=download)

    lock_file = data_dir / f".{name}.lock"
    # The file is there while another process downloads: what is read now may be half of it.
    if download or lock_file.exists():
        return (yield from one_at_a_time(lock_file, f"downloading {name}", found))
    return (yield from found())


def _require_folder(data_dir: Path) -> None:
    """Create only the folder in the user's cache if it is missing: any other may be mistyped."""
    if data_dir == _cache_dir():
        return
    try:
        next(data_dir.iterdir(), None)
    except OSError as error:
        raise UsageError(
            f"the data folder {data_dir} cannot be read ({reason_of(error)}): check --data-dir or LBADVISOR_DATA"
        ) from error


def _with_splits(name: str, data_dir: Path) -> Path | None:
    """The folder with the data set's splits, `data_dir`/NAME or `data_dir`; None if neither has them."""
    for folder in (data_dir / name, data_dir):
        try:
            (folder / "train").stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DataError(f"the folder {folder} cannot be read: {reason_of(error)}") from error
        return folder
    return None


def _in_one_piece(recipe: Recipe, splits: tuple[Split, Split], where: str, device: torch.device) -> Dataset:
    train, test = splits
    _check_training_set(recipe, train.labels_N, where)
    if recipe.data.validation_examples is None:
        return in_memory(train, test, device)
    kept_N, held_out_N = parted(train.labels_N, recipe.data.validation_examples)
    train, validation = (Split(train.images_NCHW[part_N], train.labels_N[part_N]) for part_N in (kept_N, held_out_N))
    return in_memory(train, test, device, validation)


def _of_class_folders(
    recipe: Recipe, folder: Path, device: torch.device, workers: int, packed_at_most_bytes: float
) -> Generator[Preparing, None, Dataset]:
    train, test = read_class_folders(folder)
    _check_training_set(recipe, train.labels_N, str(folder))
    validation = None
    if recipe.data.validation_examples is not None:
        # Split into files first: cached results belong to the files they were made from.
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
    # The ranks of a machine decode at once; what is packed, one of them does while the others wait.
    decoding = workers and max(1, workers // ranks_here().of_machine)
    return Streamed(train, test, shape, side, (mean_C.to(device), deviation_C.to(device)), decoding, validation)


def _check_training_set(recipe: Recipe, labels_N: Tensor, where: str) -> None:
    """Raise `DataError` for images of a single class, and `RecipeError` if their number is not the recipe's."""
    data, found = recipe.data, len(labels_N)
    if len(labels_N.unique()) < 2:
        raise DataError(f"the data set {data.name} in {where} has a single class: there is nothing to learn")
    held_out = data.validation_examples or 0
    if found == data.train_examples + held_out:
        return
    rest = found - held_out
    there = f"the data set {data.name} in {where} has {found} training examples"
    if rest < 1:
        problem = RecipeProblem("data.validation_examples", f"is {held_out}, but {there}", hint="hold out fewer")
    else:
        said = f"is {data.train_examples}" + (f", besides {held_out} held out for validation" if held_out else "")
        hint = f"give --set data.train_examples={rest}, or complete the data"
        problem = RecipeProblem("data.train_examples", f"{said}, but {there}", hint=hint)
    raise RecipeError(recipe.name, (problem,))


def _memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
