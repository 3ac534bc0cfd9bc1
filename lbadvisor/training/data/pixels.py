"""Normalizes pixels to mean 0 and deviation 1. N examples, C channels, H height, W width."""

import torch
from torch import Tensor

from lbadvisor.errors import DataError
from lbadvisor.training.data.dataset import Dataset
from lbadvisor.training.transfer import sent

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
"""For red, green and blue, from 0 to 1: as in the code of Hoffer et al. 2017 (eladhoffer/bigBatch, preprocess.py) and
most others."""


def normalized(dataset: Dataset, images_NCHW: Tensor) -> Tensor:
    """Float32 images with the training set's mean 0 and deviation 1 per channel, on the data set's device."""
    mean_C11, deviation_C11 = dataset.mean_C[:, None, None], dataset.deviation_C[:, None, None]
    return sent(images_NCHW, dataset.mean_C.device).to(torch.float32).sub_(mean_C11).div_(deviation_C11)


def imagenet_statistics() -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel, float32 (3,), of pixels from 0 to 255."""
    return 255 * torch.tensor(IMAGENET_MEAN), 255 * torch.tensor(IMAGENET_DEVIATION)


def pixel_counts(images_NCHW: Tensor) -> Tensor:
    """How often each of the 256 values occurs in each channel, int64 (C, 256)."""
    channels = images_NCHW.shape[1]
    return torch.stack([torch.bincount(images_NCHW[:, c].reshape(-1), minlength=256) for c in range(channels)])


def statistics_of(counts_C256: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel, float32 (C,), exact from the counts of the 256 values.

    Raises `DataError` if a channel has only one value.
    """
    values = torch.arange(256, dtype=torch.float64)
    means, deviations = [], []
    for counts in counts_C256:
        share = counts.double()
        share /= share.sum()
        mean = (share * values).sum()
        means.append(mean)
        deviations.append((share * (values - mean) ** 2).sum().sqrt())
    deviation_C = torch.stack(deviations)
    if not bool((deviation_C > 0).all()):
        raise DataError("the training images have a channel with a single pixel value: nothing can be learned from it")
    return torch.stack(means).float(), deviation_C.float()
