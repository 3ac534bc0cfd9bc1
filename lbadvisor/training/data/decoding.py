"""An image file's pixels, at the file's size or the recipe's. H height, W width, both in pixels."""

import io
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from lbadvisor.errors import DataError, reason_of

Reshape = Callable[[Image.Image], Image.Image]
Pixels = npt.NDArray[np.uint8]

SHORT_SIDE = 256 / 224
"""For evaluation, the ratio of the short side to the crop: 256 for a crop of 224."""
AREA_SHARE = (0.08, 1.0)
ASPECT_RATIO = (3 / 4, 4 / 3)
CROP_ATTEMPTS = 10


def decoded_into(pixels_3HW: Pixels, path: str, reshape: Reshape) -> None:
    """Write the image's red, green and blue to `pixels_3HW`, after `reshape`.

    Without torch, whose own threads would compete with the decoding threads for the cores. Raises `DataError` for a
    file that cannot be read, for an image with more than 8 bits per pixel and channel, and for one of another size.
    """
    with _naming(path):
        # Read all at once: each of Pillow's many small reads would pass Python's lock around.
        with Path(path).open("rb", buffering=0) as file:
            content = io.BytesIO(file.read())
        with Image.open(content) as image:
            image.load()
            pixels = np.asarray(reshape(_in_colours(image, path)))
    height, width, _ = pixels.shape
    if (height, width) != pixels_3HW.shape[1:]:
        expected = f"{pixels_3HW.shape[2]}x{pixels_3HW.shape[1]}"
        raise DataError(
            f"the images differ in size: {path} is {width}x{height}, the others {expected}; make them equal, or set "
            "data.image_size, the side of the square to which each is resized and cropped"
        )
    pixels_3HW[...] = pixels.transpose(2, 0, 1)


def size_of(path: str) -> tuple[int, int]:
    """(H, W) of an image file. Raises `DataError` if it cannot be read."""
    with _naming(path), Image.open(path) as image:
        return image.height, image.width


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """While entered, any error with an image file becomes a `DataError` that names it."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"the image {path} cannot be read: it is damaged, or its format is unknown") from error
    except Exception as error:  # nothing documents what damaged bytes make Pillow raise
        raise DataError(f"the image {path} cannot be read: {reason_of(error)}") from error


def _in_colours(image: Image.Image, path: str) -> Image.Image:
    """The image in red, green and blue, without its transparency."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith(("I", "F")):
        # Pillow would clip every value at 255.
        raise DataError(
            f"the image {path} has grey values of 16 or more bits ({image.mode}), and nothing says which of them are "
            "black and white: convert it to 8 bits"
        )
    # Pillow warns about some forms of a palette's transparency unless it is requested.
    return (image.convert("RGBA") if image.mode == "P" else image).convert("RGB")


def unchanged(image: Image.Image) -> Image.Image:
    """The image, unchanged."""
    return image


def fitted(side: int) -> Reshape:
    """Resizing to a short side of 256/224 of `side`, then the square of that side in the middle; bilinear.

    256 and 224 are from the evaluation on ImageNet in the code of Hoffer et al. 2017 (eladhoffer/bigBatch,
    preprocess.py); keeping the proportion for other sides is this project's choice.
    """
    short = round(side * SHORT_SIDE)

    def fit(image: Image.Image) -> Image.Image:
        width, height = image.size
        if width <= height:
            width, height = short, int(short * height / width)
        else:
            width, height = int(short * width / height), short
        left, top = round((width - side) / 2), round((height - side) / 2)
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        return resized.crop((left, top, left + side, top + side))

    return fit


def random_resized_crop(side: int, draws: random.Random) -> Reshape:
    """A random part of the image, resized to a square, mirrored half the time; bilinear.

    The part has 8 to 100% of the image's area and a ratio of width to height between 3/4 and 4/3, uniform in area and
    in the logarithm of the ratio; after ten draws that do not fit it is the largest such part in the middle. Source:
    Szegedy et al. 2015, arXiv:1409.4842, as torchvision's `RandomResizedCrop` has it; the training augmentation of the
    code of Hoffer et al. 2017 on ImageNet (eladhoffer/bigBatch, preprocess.py).
    """

    def crop(image: Image.Image) -> Image.Image:
        left, top, width, height = random_part(*image.size, draws)
        part = image.crop((left, top, left + width, top + height))
        resized = part.resize((side, side), Image.Resampling.BILINEAR)
        return resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draws.random() < 0.5 else resized

    return crop


def random_part(width: int, height: int, draws: random.Random) -> tuple[int, int, int, int]:
    """(left, top, width, height) of the part that `random_resized_crop` cuts out of an image."""
    low, high = (math.log(ratio) for ratio in ASPECT_RATIO)
    for _ in range(CROP_ATTEMPTS):
        area = width * height * draws.uniform(*AREA_SHARE)
        ratio = math.exp(draws.uniform(low, high))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(draws.random() * (width - w + 1)), int(draws.random() * (height - h + 1)), w, h
    w, h = min(width, round(height * ASPECT_RATIO[1])), min(height, round(width / ASPECT_RATIO[0]))
    return (width - w) // 2, (height - h) // 2, w, h
