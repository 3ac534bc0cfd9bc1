"""The pixels of an image file, against torchvision's transforms."""

import random

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ks_2samp
from torch import manual_seed
from torchvision.transforms import CenterCrop, Compose, RandomResizedCrop, Resize
from torchvision.transforms.functional import hflip, resized_crop

from lbadvisor.errors import DataError
from lbadvisor.training.data.decoding import decoded_into, fitted, random_part, random_resized_crop, size_of, unchanged


def noise(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (80, 160), (301, 299)])
def test_fitting_is_torchvisions_resize_to_256_and_centre_crop_of_224(size):
    image = noise(*size)
    expected = Compose([Resize(256), CenterCrop(224)])(image)
    assert np.array_equal(np.asarray(fitted(224)(image)), np.asarray(expected))


@pytest.mark.parametrize("seed", range(6))
def test_a_random_crop_is_torchvisions_of_the_same_part(seed):
    """Both mirrored and plain ones come up among these seeds."""
    image = noise(120, 90)
    left, top, width, height = random_part(120, 90, random.Random(seed))
    expected = resized_crop(image, top, left, height, width, [64, 64])
    got = np.asarray(random_resized_crop(64, random.Random(seed))(image))
    assert any(np.array_equal(got, np.asarray(each)) for each in (expected, hflip(expected)))


def test_random_crops_mirror_half_the_time():
    image = noise(8, 8)
    plain = 0
    for seed in range(400):
        left, top, width, height = random_part(8, 8, random.Random(seed))
        expected = resized_crop(image, top, left, height, width, [8, 8])
        plain += np.array_equal(np.asarray(random_resized_crop(8, random.Random(seed))(image)), np.asarray(expected))
    assert 160 < plain < 240  # 200 +- 4 standard deviations of 10


@pytest.mark.parametrize("size", [(500, 375), (400, 100)])
def test_the_parts_are_distributed_as_torchvisions(size):
    """Left, top, width and height of 4000 parts each: two samples of one distribution. The second is often too flat."""
    manual_seed(0)
    image = Image.new("RGB", size)
    draws = random.Random(0)
    ours = np.array([random_part(*size, draws) for _ in range(4000)])
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])
    theirs = theirs[:, [1, 0, 3, 2]]
    assert all(ks_2samp(ours[:, i], theirs[:, i]).pvalue > 0.001 for i in range(4))
    assert (ours[:, 0] + ours[:, 2] <= size[0]).all()
    assert (ours[:, 1] + ours[:, 3] <= size[1]).all()


def test_grey_and_transparent_images_are_read_as_three_colours(tmp_path):
    Image.new("L", (3, 2), 7).save(tmp_path / "grey.png")
    Image.new("RGBA", (3, 2), (1, 2, 3, 0)).save(tmp_path / "clear.png")
    pixels = np.zeros((3, 2, 3), dtype=np.uint8)
    decoded_into(pixels, str(tmp_path / "grey.png"), unchanged)
    assert pixels[:, 1, 2].tolist() == [7, 7, 7]
    decoded_into(pixels, str(tmp_path / "clear.png"), unchanged)
    assert pixels[:, 1, 2].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("mode", "colour", "ending", "expected"),
    [
        ("CMYK", (255, 0, 0, 0), "tif", [0, 255, 255]),
        ("1", 1, "png", [255, 255, 255]),
        ("LA", (9, 128), "png", [9, 9, 9]),
        ("YCbCr", (76, 85, 255), "tif", [254, 0, 0]),
    ],
)
def test_other_colours_become_red_green_and_blue(tmp_path, mode, colour, ending, expected):
    file = tmp_path / f"image.{ending}"
    Image.new(mode, (3, 2), colour).save(file)
    pixels = np.zeros((3, 2, 3), dtype=np.uint8)
    decoded_into(pixels, str(file), unchanged)
    assert pixels[:, 1, 2].tolist() == expected


def test_a_palette_with_transparency_is_read_in_its_colours_and_without_a_warning(tmp_path):
    image = Image.new("P", (3, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "palette.png", transparency=bytes([0, 128]))
    pixels = np.zeros((3, 2, 3), dtype=np.uint8)
    decoded_into(pixels, str(tmp_path / "palette.png"), unchanged)
    assert pixels[:, 1, 2].tolist() == [10, 20, 30]


@pytest.mark.parametrize(("bits", "ending"), [(np.uint16, "png"), (np.uint16, "tif"), (np.float32, "tif")])
def test_an_image_of_more_bits_is_refused_and_not_cut_at_255(tmp_path, bits, ending):
    file = tmp_path / f"deep.{ending}"
    Image.fromarray(np.full((2, 3), 40_000, dtype=bits)).save(file)
    with pytest.raises(DataError, match=rf"deep\.{ending} has grey values of 16 or more bits .*: convert it to 8 bits"):
        decoded_into(np.zeros((3, 2, 3), dtype=np.uint8), str(file), unchanged)


@pytest.mark.parametrize("content", [b"", b"no image", "cut"])
def test_a_file_that_is_no_whole_image_is_named_in_words(tmp_path, content):
    file = tmp_path / "broken.jpg"
    noise(64, 64).save(file)
    file.write_bytes(file.read_bytes()[:500] if content == "cut" else content)
    said = "(?i:truncated)" if content == "cut" else "it is damaged, or its format is unknown$"
    with pytest.raises(DataError, match=rf"broken\.jpg cannot be read: {said}"):
        decoded_into(np.zeros((3, 64, 64), dtype=np.uint8), str(file), unchanged)
    if content != "cut":
        with pytest.raises(DataError, match=rf"broken\.jpg cannot be read: {said}"):
            size_of(str(file))


def test_a_file_that_is_not_there_is_named_without_a_number(tmp_path):
    for read in (size_of, lambda path: decoded_into(np.zeros((3, 1, 1), dtype=np.uint8), path, unchanged)):
        with pytest.raises(DataError, match=r"/none\.png cannot be read: No such file or directory$"):
            read(str(tmp_path / "none.png"))
