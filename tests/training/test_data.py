"""The order of examples, and the data sets."""

import resource
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from lbadvisor.batch_cuts import EVERYTHING
from lbadvisor.errors import DataError, OutOfMemoryError, RecipeError, UsageError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.data.augment import pad_crop_flip
from lbadvisor.training.data.order import batch_indices
from lbadvisor.training.data.pixels import normalized
from lbadvisor.training.data.preparation import default_data_dir, load_dataset, preparing
from lbadvisor.training.data.sources import digits

CPU = torch.device("cpu")


def recipe(name="digits", examples=1297, **data):
    return Recipe.model_validate(
        {
            "schema": 1,
            "name": "r",
            "data": {"name": name, "train_examples": examples, **data},
            "model": {"name": "f1"},
            "batch": {"size": 4},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "schedule": {"epochs": 1},
        }
    )


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10, 25])
def test_every_epoch_of_the_stream_holds_each_example_once_whatever_the_batch(batch_size):
    """Batches straddle epochs: 70 examples of the stream are seven whole passes over ten."""
    stream = torch.cat([batch_indices(0, u, batch_size, 10) for u in range(-(-70 // batch_size))])[:70]
    assert all(sorted(epoch.tolist()) == list(range(10)) for epoch in stream.split(10))


def test_the_stream_of_examples_is_the_same_whatever_the_batch():
    """A larger batch takes the same examples in the same order, only more of them at once."""
    small = torch.cat([batch_indices(5, u, 8, 100) for u in range(32)])
    large = torch.cat([batch_indices(5, u, 64, 100) for u in range(4)])
    assert torch.equal(small, large)


def test_epochs_and_seeds_have_different_orders():
    first = batch_indices(0, 0, 100, 100)
    assert not torch.equal(first, batch_indices(0, 1, 100, 100))
    assert not torch.equal(first, batch_indices(1, 0, 100, 100))
    assert torch.equal(first, batch_indices(0, 0, 100, 100))


def test_digits_are_split_as_scikit_learn_splits_them():
    """Read without it, because importing it takes a second."""
    images, labels = load_digits(return_X_y=True)
    theirs = train_test_split(images, labels, test_size=500, random_state=0, stratify=labels)
    ours = [part for split in digits() for part in (split.images_NCHW.flatten(1).numpy(), split.labels_N.numpy())]
    for our, their in zip(ours, (theirs[0], theirs[2], theirs[1], theirs[3]), strict=True):
        assert (our == their).all()
    assert [part.dtype for part in ours] == ["uint8", "int64", "uint8", "int64"]


def test_digits_are_the_1797_images_with_500_held_out_evenly_by_class():
    digits = load_dataset(recipe(), None, CPU)
    assert digits.train.images_NCHW.shape == (1297, 1, 8, 8)
    assert digits.test.images_NCHW.shape == (500, 1, 8, 8)
    assert (digits.classes, digits.shape) == (10, (1, 8, 8))
    assert set(digits.test.labels_N.bincount().tolist()) <= {48, 49, 50, 51}
    assert int(digits.train.images_NCHW.max()) == 16
    images = normalized(digits, digits.train.images_NCHW)
    assert images.mean().item() == pytest.approx(0, abs=1e-5)
    assert images.std(correction=0).item() == pytest.approx(1, abs=1e-5)


def test_another_number_of_examples_than_the_recipe_says_is_a_wrong_recipe():
    with pytest.raises(RecipeError) as caught:
        load_dataset(recipe(examples=1000), None, CPU)
    assert str(caught.value) == (
        "r: data.train_examples: is 1000, but the data set digits in scikit-learn has 1297 training examples\n"
        "  = give --set data.train_examples=1297, or complete the data"
    )
    assert caught.value.exit_code == 2


def test_a_crop_is_a_window_of_the_padded_image_or_its_mirror():
    """Each output is found, by search, among the 81 windows of the padded image and their mirrors."""
    images = torch.arange(1, 1 + 3 * 2 * 6 * 5, dtype=torch.uint8).reshape(3, 2, 6, 5)
    out = pad_crop_flip(images, torch.Generator().manual_seed(3), len(images), EVERYTHING)
    assert out.shape == images.shape
    assert out.dtype == torch.uint8
    for image, cropped in zip(images, out, strict=True):
        padded = torch.nn.functional.pad(image, [4] * 4)
        windows = [padded[:, y : y + 6, x : x + 5] for y in range(9) for x in range(9)]
        assert any(torch.equal(cropped, w) or torch.equal(cropped, w.flip(2)) for w in windows)


def test_both_mirrored_and_plain_crops_come_up_in_every_place():
    image = torch.arange(1, 26, dtype=torch.uint8).reshape(1, 1, 5, 5).expand(4000, 1, 5, 5)
    out = pad_crop_flip(image, torch.Generator().manual_seed(0), len(image), EVERYTHING)
    assert len(torch.unique(out, dim=0)) == 162  # 9 x 9 corners, mirrored or not


def test_augmentation_is_a_function_of_seed_and_update():
    crops = recipe(augmentation="pad-crop-flip")
    digits = load_dataset(crops, None, CPU)
    first, again, later = (digits.training_batch(crops, 0, u)[0] for u in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


@pytest.fixture
def class_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draws = np.random.default_rng(0)
    for split, count in (("train", 5), ("test", 2)):
        for name in ("ant", "bee"):
            folder = tmp_path / "data" / "insects" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(draws.integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "data"


def test_class_folders_are_read_and_packed_once(class_folders):
    insects = load_dataset(recipe("insects", 10), class_folders, CPU)
    assert insects.train.labels_N.tolist() == [0] * 5 + [1] * 5
    pixel = np.asarray(Image.open(class_folders / "insects/train/bee/0.png"))[1, 2]
    assert insects.train.images_NCHW[5, :, 1, 2].tolist() == pixel.tolist()
    packed = list((class_folders.parent / "cache").rglob("*.pt"))
    assert len(packed) == 2
    before = [p.stat().st_mtime_ns for p in packed]
    again = load_dataset(recipe("insects", 10), class_folders, CPU)
    assert torch.equal(again.train.images_NCHW, insects.train.images_NCHW)
    assert [p.stat().st_mtime_ns for p in packed] == before


def test_a_changed_class_folder_is_packed_anew(class_folders):
    load_dataset(recipe("insects", 10), class_folders, CPU)
    Image.new("RGB", (6, 6)).save(class_folders / "insects/train/ant/new.png")
    assert len(load_dataset(recipe("insects", 11), class_folders, CPU).train.labels_N) == 11


def test_a_damaged_image_is_named(class_folders):
    broken = class_folders / "insects/train/bee/3.png"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(DataError, match=r"bee.3\.png cannot be read"):
        load_dataset(recipe("insects", 10), class_folders, CPU)


@pytest.mark.parametrize("content", [b"", b"junk" * 1000, None], ids=["empty", "junk", "cut"])
def test_a_damaged_packed_file_is_named(class_folders, content):
    load_dataset(recipe("insects", 10), class_folders, CPU)
    for packed in (class_folders.parent / "cache").rglob("*.pt"):
        packed.write_bytes(packed.read_bytes()[:-100] if content is None else content)
    with pytest.raises(DataError, match=r"packed/\w+\.pt cannot be read \(.*delete it, and it will be recreated"):
        load_dataset(recipe("insects", 10), class_folders, CPU)


def test_a_packed_file_that_finds_no_room_is_named_and_not_left(class_folders):
    """A real limit of the operating system: no file may grow above a kilobyte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(DataError, match=r"packed/\w+\.pt cannot be written \(.*free disk space"):
            load_dataset(recipe("insects", 10), class_folders, CPU)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path for path in (class_folders.parent / "cache").rglob("*") if path.is_file()] == []


def test_images_of_unequal_size_are_an_error(class_folders):
    Image.new("RGB", (7, 6)).save(class_folders / "insects/train/ant/new.png")
    with pytest.raises(DataError, match="differ in size"):
        load_dataset(recipe("insects", 11), class_folders, CPU)


def test_packing_tells_how_far_it_is_and_the_second_time_nothing(class_folders):
    """Every 64 images, which two classes of 5 and 2 do not have: at the beginning and at the end."""
    told = [(event.task, event.done, event.total) for event in preparing(recipe("insects", 10), class_folders, CPU)]
    train, test = "packing insects/train", "packing insects/test"
    assert told == [("reading insects", 0, None), (train, 0, 10), (train, 10, 10), (test, 0, 4), (test, 4, 4)]
    again = preparing(recipe("insects", 10), class_folders, CPU)
    assert [event.task for event in again] == ["reading insects"]


def test_progress_comes_every_64_images(class_folders):
    for i in range(120):
        (class_folders / f"insects/train/ant/more{i}.png").hardlink_to(class_folders / "insects/train/ant/0.png")
    told = [event.done for event in preparing(recipe("insects", 130), class_folders, CPU)]
    assert told[1:5] == [0, 64, 128, 130]


@pytest.mark.parametrize("events", [1, 2, 3])
def test_packing_that_is_dropped_leaves_nothing(class_folders, events):
    for i in range(120):
        (class_folders / f"insects/train/ant/more{i}.png").hardlink_to(class_folders / "insects/train/ant/0.png")
    progress = preparing(recipe("insects", 130), class_folders, CPU)
    for _ in range(events):
        next(progress)
    progress.close()
    assert [path for path in (class_folders.parent / "cache").rglob("*") if path.is_file()] == []


def test_an_image_size_packs_what_evaluation_would_crop(class_folders):
    """Of 6x6: resized to 16/14 of 14 pixels and cropped in the middle; another size is another file."""
    insects = load_dataset(recipe("insects", 10, image_size=14), class_folders, CPU)
    image = Image.open(class_folders / "insects/train/bee/0.png")
    expected = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR).crop((1, 1, 15, 15)))
    assert np.array_equal(insects.train.images_NCHW[5].permute(1, 2, 0).numpy(), expected)
    assert load_dataset(recipe("insects", 10), class_folders, CPU).shape == (3, 6, 6)


def test_fashion_mnist_is_read_in_torchvisions_layout(tmp_path):
    """IDX files (LeCun, Cortes, Burges 1998): 2051 or 2049, the sizes as big-endian 32-bit numbers, then the bytes."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = {"train": np.arange(4 * 28 * 28) % 256, "t10k": np.full(2 * 28 * 28, 9)}
    for part, labels in (("train", [3, 9, 0, 1]), ("t10k", [2, 5])):
        images = np.array([2051, len(labels), 28, 28], dtype=">i4").tobytes() + pixels[part].astype(np.uint8).tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(images)
        numbers = np.array([2049, len(labels)], dtype=">i4").tobytes() + bytes(labels)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(numbers)
    fashion = load_dataset(recipe("fashion_mnist", 4), tmp_path, CPU)
    assert (fashion.shape, fashion.classes) == ((1, 28, 28), 10)
    assert fashion.train.labels_N.tolist() == [3, 9, 0, 1]
    assert fashion.test.labels_N.tolist() == [2, 5]
    assert fashion.train.images_NCHW[1, 0, 2, 3] == (28 * 28 + 2 * 28 + 3) % 256
    assert int(fashion.test.images_NCHW.min()) == 9

    short = raw / "t10k-labels-idx1-ubyte"
    whole = short.read_bytes()
    short.write_bytes(np.array([2049, 1], dtype=">i4").tobytes() + bytes([2]))
    with pytest.raises(DataError, match="is damaged: it has 2 images but 1 labels"):
        load_dataset(recipe("fashion_mnist", 4), tmp_path, CPU)
    short.write_bytes(whole)

    damaged = raw / "train-images-idx3-ubyte"
    whole = damaged.read_bytes()
    for content in (whole[:100], whole[:10], b"", b"junk" * 1000):
        damaged.write_bytes(content)
        with pytest.raises(DataError, match=r"fashion_mnist cannot be read: .*raw/train-images-idx3-ubyte is damaged"):
            load_dataset(recipe("fashion_mnist", 4), tmp_path, CPU)


def test_a_file_of_cifar10_that_is_not_the_true_one_is_named(tmp_path):
    """Torchvision knows the checksums: a file that has not its own would be unpickled otherwise."""
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"not what it was")
    with pytest.raises(DataError, match=r"cifar10 cannot be read: .*data_batch_3 is damaged"):
        load_dataset(recipe("cifar10", 50_000), tmp_path, CPU)


def test_cifar100_is_read_from_class_folders(tmp_path, monkeypatch):
    """Of torchvision's layout there is a checksum, which a small file cannot have: so in the other layout."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for split in ("train", "test"):
        for number in range(100):
            folder = tmp_path / "cifar100" / split / f"class{number:02}"
            folder.mkdir(parents=True)
            Image.new("RGB", (32, 32), (number, 2 * number, 9 + (number + (split == "test")) % 2)).save(
                folder / "0.png"
            )
    cifar = load_dataset(recipe("cifar100", 100), tmp_path, CPU)
    assert (cifar.shape, cifar.classes, cifar.test_examples) == ((3, 32, 32), 100, 100)
    assert cifar.train.labels_N.tolist() == list(range(100))
    assert cifar.train.images_NCHW[42, :, 5, 6].tolist() == [42, 84, 9]


def test_an_absent_data_set_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"no data set nowhere.*train/CLASS"):
        load_dataset(recipe("nowhere", 10), tmp_path, CPU)


@pytest.mark.parametrize("name", ["insects", "mnist", "cifar100"])
def test_a_data_folder_that_is_not_there_is_not_made(tmp_path, name):
    """It may be mistyped; `mnist` would be downloaded into it."""
    with pytest.raises(UsageError, match=r"data folder .*/typo cannot be read \(No such file or directory\)"):
        load_dataset(recipe(name, 10), tmp_path / "typo", CPU)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"data folder .*/file cannot be read \(Not a directory\)"):
        load_dataset(recipe(name, 10), tmp_path / "file", CPU)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_folder_in_the_users_cache_need_not_be_there(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LBADVISOR_DATA", raising=False)
    with pytest.raises(DataError, match="no data set nowhere in"):
        load_dataset(recipe("nowhere", 10), default_data_dir(), CPU)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory as Linux does")
def test_a_data_set_that_the_memory_does_not_hold_is_said_to_be_that(class_folders):
    """Ten images of 4096x4096 take 503 MB, and there are 200."""
    status = Path("/proc/self/status").read_text().splitlines()
    used = next(int(line.split()[1]) for line in status if line.startswith("VmSize"))
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, ((used + 200_000) * 1024, before[1]))
    try:
        with pytest.raises(OutOfMemoryError, match=r"^the data set insects does not fit into memory: free some$"):
            list(preparing(recipe("insects", 10, image_size=4096), class_folders, CPU, packed_at_most_bytes=1e12))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_real_mnist_is_read_in_torchvisions_layout(real_data_dir):
    mnist = load_dataset(recipe("mnist", 60_000), real_data_dir, CPU)
    assert mnist.train.images_NCHW.shape == (60_000, 1, 28, 28)
    # The constants that everybody uses for MNIST.
    assert mnist.mean_C.item() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert mnist.deviation_C.item() / 255 == pytest.approx(0.3081, abs=1e-4)
