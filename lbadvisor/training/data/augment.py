"""Augmentation of a whole batch at once, on its device. N examples, C channels, H height, W width."""

import torch
from torch import Tensor

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.seeds import generator
from lbadvisor.training.transfer import sent

PADDING = 4


def augmented(recipe: Recipe, images_BCHW: Tensor, seed: int, update: int, own: slice) -> Tensor:
    """The images of an update, at the places `own` of its batch, augmented as the recipe says if that is done here."""
    if recipe.data.augmentation == "pad-crop-flip":
        return pad_crop_flip(images_BCHW, generator(seed, "augmentation", update), recipe.batch.size, own)
    return images_BCHW


def pad_crop_flip(images_NCHW: Tensor, draws: torch.Generator, batch_size: int, own: slice) -> Tensor:
    """Pad each image with 4 zeros on each side, crop it to its old size at a random place, mirror it half the time.

    The images are at the places `own` of a batch of `batch_size`, for all of which is drawn. `draws` is a CPU
    generator, so every device sees the same crops. Same shape and type; the memory format is channels_last. Source: He
    et al. 2016, arXiv:1512.03385, section 4.2.
    """
    examples, _, height, width = images_NCHW.shape
    corners_N2 = torch.randint(0, 2 * PADDING + 1, (batch_size, 2), generator=draws)[own]
    mirrored_N = (torch.rand(batch_size, generator=draws) < 0.5)[own]
    rows_NH = corners_N2[:, :1] + torch.arange(height)
    cols_W = torch.arange(width)
    cols_NW = corners_N2[:, 1:] + torch.where(mirrored_N[:, None], width - 1 - cols_W, cols_W)
    device = images_NCHW.device
    padded_NHWC = torch.nn.functional.pad(images_NCHW, [PADDING] * 4).permute(0, 2, 3, 1)
    examples_N11 = torch.arange(examples, device=device)[:, None, None]
    rows_NH1, cols_N1W = sent(rows_NH, device)[:, :, None], sent(cols_NW, device)[:, None, :]
    return padded_NHWC[examples_N11, rows_NH1, cols_N1W].permute(0, 3, 1, 2)
