"""Class folders: images in one folder per class, listed but not yet read.

Everything in a class folder is an image of that class, or an error that names it. Hidden files and folders are ignored,
such as .DS_Store, and .ipynb_checkpoints with copies of images.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import torch
from torch import Tensor

from lbadvisor.errors import DataError, reason_of

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision's `ImageFolder`, in lower or upper case."""
TEST_SPLITS = ("test", "val")
"""Possible folders of the test split. ImageNet's own test images have no labels, so its test split is `val`."""


@dataclass(frozen=True, slots=True)
class ClassFolder:
    """The image files of one split, sorted by class and name, their class numbers (N,), and the classes' names."""

    folder: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels_N: Tensor

    @property
    def title(self) -> str:
        """For example cifar10/train."""
        return "/".join(self.folder.parts[-2:])


def read_class_folders(folder: Path) -> tuple[ClassFolder, ClassFolder]:
    """The splits `folder`/train and `folder`/test, or `folder`/val if test has no class folders.

    Raises `DataError` if a folder cannot be read, a class has no images, the splits have different classes, a file is
    not an image, or an image is outside any class folder.
    """
    train, test = _read_split(folder / "train"), _read_split(_test_folder(folder))
    unlike = [
        f"only {one.title} has {_listed(sorted(set(one.classes) - set(other.classes)))}"
        for one, other in ((train, test), (test, train))
        if set(one.classes) - set(other.classes)
    ]
    if unlike:
        raise DataError(f"the splits of {folder} must have the same classes: {'; '.join(unlike)}")
    return train, test


def _test_folder(folder: Path) -> Path:
    there = [folder / name for name in TEST_SPLITS if (folder / name).is_dir()]
    if not there:
        raise DataError(
            f"the data set {folder} has no test split: put class folders with images into {folder / 'test'} or "
            f"{folder / 'val'}"
        )
    return next((split for split in there if any(is_folder for _, is_folder in _inside(str(split)))), there[0])


def _read_split(folder: Path) -> ClassFolder:
    inside = _inside(str(folder))
    classes = [os.path.basename(path) for path, is_folder in inside if is_folder]  # noqa: PTH119 - they are strings
    stray = [path for path, is_folder in inside if not is_folder and _is_named_as_image(path)]
    if stray:
        raise DataError(f"images must be in a folder of their class, but {_listed(stray)} in {folder} are not")
    if not classes:
        raise DataError(f"{folder} has no class folders: put the images of each class into a folder there")
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = _images_of(os.path.join(folder, name))  # noqa: PTH118
        paths += found
        labels += [label] * len(found)
    return ClassFolder(folder, tuple(classes), tuple(paths), torch.tensor(labels, dtype=torch.int64))


def _images_of(folder: str) -> list[str]:
    """The images in a class folder and its subfolders, in the order of torchvision's `ImageFolder`."""
    files = sorted(_files_below(folder, frozenset()), key=os.path.split)
    others = [path for path in files if not _is_named_as_image(path)]
    if others:
        raise DataError(
            f"the class folder {folder} has files that are not images: {_listed(others)}; remove them, or convert them "
            f"(images end in {', '.join(IMAGE_ENDINGS)})"
        )
    if not files:
        raise DataError(f"the class folder {folder} has no images: add some, or remove the class from every split")
    return files


def _files_below(folder: str, above: frozenset[str]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in above:
        raise DataError(f"{folder} links back to {real}, which contains it: remove this link")
    for path, is_folder in _inside(folder):
        if is_folder:
            yield from _files_below(path, above | {real})
        else:
            yield path


def _inside(folder: str) -> list[tuple[str, bool]]:
    """The entries of a folder, sorted, each with whether it is a folder; links are followed."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
        kinds = [(entry.path, entry.is_dir(), entry.is_file()) for entry in found]
    except OSError as error:
        raise DataError(f"{error.filename or folder} cannot be read: {reason_of(error)}") from error
    for path, is_folder, is_file in kinds:
        if not is_folder and not is_file:
            raise DataError(f"{path} is neither a file nor a folder, or a broken link: remove it")
    return [(path, is_folder) for path, is_folder, _ in kinds]


def _is_named_as_image(path: str) -> bool:
    return path.lower().endswith(IMAGE_ENDINGS)


def _listed(names: Sequence[str]) -> str:
    """The first three names, and the number of further ones."""
    shown = [os.path.basename(name) for name in names[:3]]  # noqa: PTH119
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def chosen(split: ClassFolder, numbers: Tensor) -> ClassFolder:
    """The images of a split with these indices, int64, in their order."""
    paths = tuple(split.paths[number] for number in numbers.tolist())
    return ClassFolder(split.folder, split.classes, paths, split.labels_N[numbers])


def kept_file(split: ClassFolder, image_size: int | None, kind: str) -> Path:
    """The file in the user's cache folder for data computed from a split; its name changes if any image changes.

    `kind` is the kind of data, the file's ending. Raises `DataError` if an image no longer exists.
    """
    stamp = hashlib.sha256(str(split.folder.resolve()).encode())
    if image_size is not None:
        stamp.update(f"\0{image_size}\n".encode())
    for path in split.paths:
        try:
            facts = os.stat(path)  # noqa: PTH116 - sixty thousand paths: Path objects double the time
        except OSError as error:
            raise DataError(f"the image {path} cannot be read: {reason_of(error)}") from error
        stamp.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return Path(platformdirs.user_cache_dir("lbadvisor")) / "packed" / f"{stamp.hexdigest()[:32]}.{kind}"
