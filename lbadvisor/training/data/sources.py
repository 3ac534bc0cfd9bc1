"""The data sets known by name: scikit-learn's digits, and torchvision's layouts."""

import contextlib
import io
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from lbadvisor.errors import DataError, reason_of
from lbadvisor.recipe.catalog import DATASETS
from lbadvisor.training.data.dataset import Split
from lbadvisor.training.out_of_memory import is_of_memory

TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}
"""torchvision's class for each name."""


def digits() -> tuple[Split, Split]:
    """The 8x8 digits that come with scikit-learn: 1297 to train on, 500 held out evenly by class."""
    # Its file is read without scikit-learn, which takes a second to import.
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("the data set digits comes with scikit-learn, which is not installed: install it")
    table = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", np.uint8, delimiter=",")
    # They are ordered by writer: a plain cut would test on other people's writing than it trains on. The order is that
    # of scikit-learn's `train_test_split(..., test_size=500, random_state=0, stratify=labels)`, written down.
    order = np.load(Path(__file__).with_name("digits_order.npy"))
    images_NCHW = torch.from_numpy(table[order, :-1]).reshape(-1, 1, 8, 8)
    labels_N = torch.from_numpy(table[order, -1]).to(torch.int64)
    train = len(order) - DATASETS["digits"].test_examples
    return Split(images_NCHW[:train], labels_N[:train]), Split(images_NCHW[train:], labels_N[train:])


def from_torchvision(name: str, data_dir: Path, *, download: bool) -> tuple[Split, Split] | None:
    """Both splits in torchvision's layout; None if they are missing and not to be downloaded.

    Raises `DataError` if they cannot be downloaded, or if a file is damaged, which it names.
    """
    from torchvision import datasets

    build: Callable[..., datasets.VisionDataset] = getattr(datasets, TORCHVISION[name])
    try:
        # torchvision prints where it downloads from, which does not belong on stdout.
        with contextlib.redirect_stdout(io.StringIO()):
            both = [build(data_dir, train=train, download=download) for train in (True, False)]
    except (RuntimeError, OSError, ValueError, AssertionError) as error:
        if is_of_memory(error):
            raise
        damaged = _damaged_files(name, data_dir)
        if damaged:
            raise DataError(
                f"the data set {name} cannot be read: {damaged[0]} is damaged; replace it, or delete it to download it "
                "again"
            ) from error
        if not download:
            return None
        raise DataError(
            f"the data set {name} is not in {data_dir} and could not be downloaded ({reason_of(error)}): put it "
            f"there as torchvision or as class folders {data_dir / name}/{{train,test}}/CLASS/* lay it out, "
            "or give its folder with --data-dir"
        ) from error
    splits = []
    for dataset in both:
        images = torch.as_tensor(dataset.data)
        # MNIST's are (N, H, W), CIFAR's (N, H, W, C).
        images_NCHW = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        labels_N = torch.as_tensor(dataset.targets).to(torch.int64)
        if len(images_NCHW) != len(labels_N):
            raise DataError(
                f"the data set {name} in {data_dir} is damaged: it has {len(images_NCHW)} images but {len(labels_N)} "
                "labels; replace the files, or delete them to download them again"
            )
        splits.append(Split(images_NCHW.contiguous(), labels_N))
    return splits[0], splits[1]


def _damaged_files(name: str, data_dir: Path) -> list[Path]:
    """The set's files that exist but have the wrong content."""
    from torchvision import datasets
    from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor
    from torchvision.datasets.utils import check_integrity

    if name.startswith("cifar"):
        kind = getattr(datasets, TORCHVISION[name])
        known = [(data_dir / kind.base_folder / file, md5) for file, md5 in kind.train_list + kind.test_list]
        return [file for file, md5 in known if file.exists() and not check_integrity(file, md5)]
    damaged = []
    for file in sorted((data_dir / TORCHVISION[name] / "raw").glob("*-ubyte")):
        try:
            read_sn3_pascalvincent_tensor(str(file))
        except (OSError, RuntimeError, ValueError, AssertionError, KeyError):
            damaged.append(file)
    return damaged
