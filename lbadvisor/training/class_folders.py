"""Class folders: images in one folder per class, listed and not yet read."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import torch
from torch import Tensor

from lbadvisor.errors import DataError


@dataclass(frozen=True, slots=True)
class ClassFolder:
    """The image files of one split, sorted by class and name, their class numbers (N,), and the classes' names."""

    folder: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels_N: Tensor

    @property
    def title(self) -> str:
        """Such as cifar10/train."""
        return "/".join(self.folder.parts[-2:])


def read_class_folders(folder: Path) -> tuple[ClassFolder, ClassFolder]:
    """The splits `folder`/train and `folder`/test. Raises `DataError` where one is empty or their classes differ."""
    train, test = _read_split(folder / "train"), _read_split(folder / "test")
    if train.classes != test.classes:
        unlike = sorted(set(train.classes) ^ set(test.classes))
        raise DataError(
            f"the class folders in {folder}/train and {folder}/test differ: {', '.join(unlike[:3])} is in one of them "
            "only, so the classes' numbers would not agree"
        )
    return train, test


def _read_split(folder: Path) -> ClassFolder:
    from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset

    try:
        classes, class_numbers = find_classes(folder)
        files = make_dataset(folder, class_numbers, extensions=IMG_EXTENSIONS)
    except FileNotFoundError as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"the class folders in {folder} cannot be read: {reason}") from error
    labels_N = torch.tensor([number for _, number in files], dtype=torch.int64)
    return ClassFolder(folder, tuple(classes), tuple(path for path, _ in files), labels_N)


def chosen(split: ClassFolder, numbers: Tensor) -> ClassFolder:
    """The part of a split that has these numbers, int64, in their order."""
    paths = tuple(split.paths[number] for number in numbers.tolist())
    return ClassFolder(split.folder, split.classes, paths, split.labels_N[numbers])


def kept_file(split: ClassFolder, image_size: int | None, kind: str) -> Path:
    """Where in the user's cache folder is kept what was made of a split: another file once any of its images changes.

    `kind` is what it is, the file's ending.
    """
    stamp = hashlib.sha256(str(split.folder.resolve()).encode())
    if image_size is not None:
        stamp.update(f"\0{image_size}\n".encode())
    for path in split.paths:
        facts = os.stat(path)  # noqa: PTH116 - sixty thousand paths: Path objects double the time
        stamp.update(f"{path}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode())
    return Path(platformdirs.user_cache_dir("lbadvisor")) / "packed" / f"{stamp.hexdigest()[:32]}.{kind}"
