"""Data sets in memory, and the batch of an update. N examples, C channels, H height, W width."""

import contextlib
import functools
import hashlib
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import torch
from torch import Tensor

from lbadvisor.advisor.catalog import DATASETS
from lbadvisor.advisor.recipe import Recipe
from lbadvisor.errors import DataError
from lbadvisor.training.augment import pad_crop_flip
from lbadvisor.training.files import write_atomically
from lbadvisor.training.seeds import generator, permutation


@dataclass(frozen=True, slots=True)
class Split:
    """Images, uint8 (N, C, H, W), and their class numbers, int64 (N,)."""

    images_NCHW: Tensor
    labels_N: Tensor


@dataclass(frozen=True, slots=True)
class Dataset:
    """A training and a test split, the number of classes, the training pixels' mean and deviation per channel (C,)."""

    train: Split
    test: Split
    classes: int
    mean_C: Tensor
    deviation_C: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        _, channels, height, width = self.train.images_NCHW.shape
        return channels, height, width


def default_data_dir() -> Path:
    """LBADVISOR_DATA, else the user's cache folder."""
    given = os.environ.get("LBADVISOR_DATA")
    return Path(given) if given else Path(platformdirs.user_cache_dir("lbadvisor")) / "data"


def load_dataset(recipe: Recipe, data_dir: Path, device: torch.device) -> Dataset:
    """The recipe's data set, on `device` where it fits into half of what is free there.

    It is looked for as torchvision lays it out, then as class folders `NAME/{train,test}/CLASS/*`, then downloaded by
    torchvision. Raises `DataError` where it is not found, damaged, or of another size than the recipe says.
    """
    name = recipe.data.name
    train, test = _find_splits(name, data_dir)
    found, expected = len(train.labels_N), recipe.data.train_examples
    if found != expected:
        raise DataError(
            f"the data set {name} has {found} training examples, the recipe says {expected}: "
            f"give --set data.train_examples={found}, or complete the data in {data_dir}"
        )
    mean_C, deviation_C = _pixel_statistics(train.images_NCHW)
    classes = int(max(train.labels_N.max(), test.labels_N.max())) + 1
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if train.images_NCHW.nbytes + test.images_NCHW.nbytes <= free / 2:
            train, test = (Split(s.images_NCHW.to(device), s.labels_N.to(device)) for s in (train, test))
    return Dataset(train, test, classes, mean_C.to(device), deviation_C.to(device))


def batch_indices(seed: int, update: int, batch_size: int, examples: int) -> Tensor:
    """Which examples update `update` (the first is 0) sees: int64 (batch_size,).

    They are [u*B, (u+1)*B) of an endless stream of shuffled epochs, so a batch may straddle two of them.
    """
    parts, position, missing = [], update * batch_size, batch_size
    while missing:
        epoch, start = divmod(position, examples)
        part = _cached_permutation(seed, epoch, examples)[start : start + missing]
        parts.append(part)
        position, missing = position + len(part), missing - len(part)
    return torch.cat(parts) if len(parts) > 1 else parts[0]


_cached_permutation = functools.lru_cache(maxsize=2)(permutation)


def training_batch(recipe: Recipe, dataset: Dataset, seed: int, update: int) -> tuple[Tensor, Tensor]:
    """Normalized images (B, C, H, W), float32, and labels (B,) of an update, augmented as the recipe says."""
    split = dataset.train
    indices_B = batch_indices(seed, update, recipe.batch.size, len(split.labels_N)).to(split.labels_N.device)
    # On a CPU a tenth of the time of indexing with brackets.
    images_BCHW, labels_B = (t.index_select(0, indices_B) for t in (split.images_NCHW, split.labels_N))
    if recipe.data.augmentation == "pad-crop-flip":
        images_BCHW = pad_crop_flip(images_BCHW, generator(seed, "augmentation", update))
    return normalized(dataset, images_BCHW), labels_B.to(dataset.mean_C.device)


def normalized(dataset: Dataset, images_NCHW: Tensor) -> Tensor:
    """Float32 images with the training set's mean 0 and deviation 1 per channel, on the data set's device."""
    mean_C11, deviation_C11 = dataset.mean_C[:, None, None], dataset.deviation_C[:, None, None]
    return images_NCHW.to(dataset.mean_C.device).to(torch.float32).sub_(mean_C11).div_(deviation_C11)


def _pixel_statistics(images_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel (C,), float32, from exact counts of the 256 pixel values."""
    values = torch.arange(256, dtype=torch.float64)
    means, deviations = [], []
    for channel in range(images_NCHW.shape[1]):
        share = torch.bincount(images_NCHW[:, channel].reshape(-1), minlength=256).double()
        share /= share.sum()
        mean = (share * values).sum()
        means.append(mean)
        deviations.append((share * (values - mean) ** 2).sum().sqrt())
    deviation_C = torch.stack(deviations)
    if not bool((deviation_C > 0).all()):
        raise DataError("the training images have a channel with a single pixel value: nothing can be learned from it")
    return torch.stack(means).float(), deviation_C.float()


def _find_splits(name: str, data_dir: Path) -> tuple[Split, Split]:
    if name == "digits":
        return _digits()
    if name in _TORCHVISION:
        splits = _from_torchvision(name, data_dir, download=False)
        if splits is not None:
            return splits
    if (data_dir / name / "train").is_dir():
        return _class_folder(data_dir / name / "train"), _class_folder(data_dir / name / "test")
    if name in _TORCHVISION:
        splits = _from_torchvision(name, data_dir, download=True)
        if splits is not None:
            return splits
    known = ", ".join(DATASETS)
    raise DataError(
        f"no data set {name} in {data_dir}: looked for {data_dir / name}/train/CLASS/* and test/CLASS/*; "
        f"give the folder above it with --data-dir (sets known by name: {known})"
    )


def _digits() -> tuple[Split, Split]:
    from sklearn.datasets import load_digits  # scikit-learn takes a second to import
    from sklearn.model_selection import train_test_split

    # The order is by writer: a plain cut would test on other hands than it trains on.
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        images, labels, test_size=DATASETS["digits"].test_examples, random_state=0, stratify=labels
    )
    train_images, test_images, train_labels, test_labels = (torch.from_numpy(part) for part in parts)
    train_split, test_split = (
        Split(images_NP.reshape(-1, 1, 8, 8).to(torch.uint8), labels_N.to(torch.int64))
        for images_NP, labels_N in ((train_images, train_labels), (test_images, test_labels))
    )
    return train_split, test_split


_TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}


def _from_torchvision(name: str, data_dir: Path, *, download: bool) -> tuple[Split, Split] | None:
    """Both splits in torchvision's layout, None where they are not there and are not to be downloaded."""
    from torchvision import datasets

    build: Callable[..., datasets.VisionDataset] = getattr(datasets, _TORCHVISION[name])
    try:
        # torchvision prints where it downloads from: that is no data of ours.
        with contextlib.redirect_stdout(io.StringIO()):
            both = [build(data_dir, train=train, download=download) for train in (True, False)]
    except (RuntimeError, OSError) as error:
        if not download:
            return None
        raise DataError(
            f"the data set {name} is not in {data_dir} and could not be downloaded ({_first_line(error)}): put it "
            f"there as torchvision or as class folders {data_dir / name}/{{train,test}}/CLASS/* lay it out, "
            "or give its folder with --data-dir"
        ) from error
    splits = []
    for dataset in both:
        images = torch.as_tensor(dataset.data)
        # MNIST's are (N, H, W), CIFAR's (N, H, W, C).
        images_NCHW = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        splits.append(Split(images_NCHW.contiguous(), torch.as_tensor(dataset.targets).to(torch.int64)))
    return splits[0], splits[1]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _class_folder(folder: Path) -> Split:
    """Images of equal size in class folders, decoded once and then kept, packed, in the user's cache folder."""
    from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

    try:
        _, class_numbers = find_classes(folder)
        files = make_dataset(folder, class_numbers, extensions=IMG_EXTENSIONS)
    except FileNotFoundError as error:
        raise DataError(f"the class folders in {folder} cannot be read: {_first_line(error)}") from error
    stamp = hashlib.sha256(str(folder.resolve()).encode())
    for path, _ in files:
        facts = os.stat(path)  # noqa: PTH116 - sixty thousand paths: Path objects double the time
        stamp.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    packed = Path(platformdirs.user_cache_dir("lbadvisor")) / "packed" / f"{stamp.hexdigest()[:32]}.pt"
    if not packed.exists():
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(_decoded, (path for path, _ in files)))
        shapes = {tuple(image.shape) for image in images}
        if len(shapes) > 1:
            sizes = ", ".join(f"{w}x{h}" for _, h, w in sorted(shapes)[:3])
            raise DataError(f"the images in {folder} differ in size ({sizes}, ...): make them equal first")
        labels_N = torch.tensor([number for _, number in files], dtype=torch.int64)
        content = {"images": torch.stack(images), "labels": labels_N}
        write_atomically(packed, lambda file: torch.save(content, file))
    content = torch.load(packed, mmap=True, weights_only=True)
    return Split(content["images"], content["labels"])


def _decoded(path: str) -> Tensor:
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    try:
        with Image.open(path) as image:
            pixels: Tensor = pil_to_tensor(image.convert("RGB"))
    except OSError as error:
        raise DataError(f"the image {path} cannot be read: {_first_line(error)}") from error
    return pixels
