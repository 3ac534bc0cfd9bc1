"""Class folders as users have them: each thing in them is an image of its class, or is named."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

from lbadvisor.errors import DataError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.data.class_folders import IMAGE_ENDINGS, kept_file, read_class_folders
from lbadvisor.training.data.preparation import load_dataset

CPU = torch.device("cpu")


def recipe(name="insects", examples=10):
    return Recipe.model_validate(
        {
            "schema": 1,
            "name": "r",
            "data": {"name": name, "train_examples": examples},
            "model": {"name": "f1"},
            "batch": {"size": 4},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "schedule": {"updates": 1},
        }
    )


@pytest.fixture
def insects(tmp_path, monkeypatch):
    """The folder of a set: 5 training and 2 test images of ants, as many of bees."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draws = np.random.default_rng(0)
    for split, count in (("train", 5), ("test", 2)):
        for name in ("ant", "bee"):
            folder = tmp_path / "data" / "insects" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(draws.integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "data" / "insects"


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 6), (1, 2, 3)).save(path)


def test_the_images_and_their_order_are_torchvisions(insects):
    """Of nested folders, linked ones, and endings in capital letters too: a resumed run keeps its order of examples."""
    assert IMAGE_ENDINGS == IMG_EXTENSIONS
    for name in ("ant/a-b/1.png", "ant/a/2.JPG", "ant/a/b/3.webp", "ant/Z.png", "bee/10.png"):
        image(insects / "train" / name)
    (insects.parent / "more").mkdir()
    image(insects.parent / "more" / "4.png")
    (insects / "train" / "bee" / "linked").symlink_to(insects.parent / "more")
    train, _ = read_class_folders(insects)
    expected = make_dataset(insects / "train", {"ant": 0, "bee": 1}, extensions=IMG_EXTENSIONS)
    assert list(zip(train.paths, train.labels_N.tolist(), strict=True)) == expected
    assert len(expected) == 16


def test_hidden_files_and_folders_are_no_part_of_the_data(insects):
    image(insects / "train" / ".ipynb_checkpoints" / "0.png")
    image(insects / "train" / "ant" / ".ipynb_checkpoints" / "0-checkpoint.png")
    (insects / "train" / ".DS_Store").touch()
    (insects / "train" / "bee" / "._0.png").write_bytes(b"what macOS puts beside a copied file")
    read = load_dataset(recipe(), insects.parent, CPU)
    assert (read.classes, read.train_examples) == (2, 10)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_file_that_is_no_image_is_named(insects, split):
    for name in ("notes.txt", "b.gif", "deep/a.png.part", "c.heic"):
        file = insects / split / "bee" / name
        file.parent.mkdir(exist_ok=True)
        file.touch()
    with pytest.raises(
        DataError,
        match=rf"{split}/bee has files that are not images: b\.gif, c\.heic, notes\.txt and 1 more; .*\.jpg, ",
    ):
        load_dataset(recipe(), insects.parent, CPU)


def test_files_beside_the_class_folders_are_none_of_a_class(insects):
    (insects / "train" / "labels.csv").touch()
    assert load_dataset(recipe(), insects.parent, CPU).train_examples == 10


def test_an_image_in_no_class_folder_is_named(insects):
    image(insects / "train" / "lost.png")
    with pytest.raises(DataError, match=r"must be in a folder of their class, but lost\.png in .*/train are not"):
        load_dataset(recipe(), insects.parent, CPU)


def test_an_empty_class_folder_is_named(insects):
    for split in ("train", "test"):
        (insects / split / "wasp").mkdir()
    with pytest.raises(DataError, match=r"train/wasp has no images: add some, or remove the class from every split"):
        load_dataset(recipe(), insects.parent, CPU)


def test_classes_that_are_in_one_split_only_are_named_with_it(insects):
    (insects / "test/bee").rename(insects / "test/wasp")
    with pytest.raises(DataError) as caught:
        load_dataset(recipe(), insects.parent, CPU)
    assert str(caught.value) == (
        f"the splits of {insects} must have the same classes: only insects/train has bee; only insects/test has wasp"
    )
    for file in (insects / "test/wasp").iterdir():
        file.unlink()
    (insects / "test/wasp").rmdir()
    with pytest.raises(DataError, match=r"same classes: only insects/train has bee$"):
        load_dataset(recipe(), insects.parent, CPU)


def test_data_of_a_single_class_are_refused(insects):
    for split in ("train", "test"):
        for file in (insects / split / "bee").iterdir():
            file.unlink()
        (insects / split / "bee").rmdir()
    with pytest.raises(DataError, match=r"insects in .* has a single class: there is nothing to learn"):
        load_dataset(recipe(examples=5), insects.parent, CPU)


def test_imagenets_own_layout_is_taken(insects):
    """`train` and `val`, the folder itself given, and its test images, which have no labels, beside them."""
    before = load_dataset(recipe(), insects.parent, CPU)
    (insects / "test").rename(insects / "val")
    image(insects / "test" / "ILSVRC2012_test_00000001.png")
    for data_dir in (insects, insects.parent):
        read = load_dataset(recipe(), data_dir, CPU)
        assert torch.equal(read.test.images_NCHW, before.test.images_NCHW)
        assert torch.equal(read.train.images_NCHW, before.train.images_NCHW)


def test_where_both_splits_have_classes_the_test_split_is_test(insects):
    for name in ("ant", "bee"):
        image(insects / "val" / name / "0.png")
    assert load_dataset(recipe(), insects.parent, CPU).test_examples == 4


def test_a_set_without_a_test_split_says_where_one_is_looked_for(insects):
    (insects / "test").rename(insects / "other")
    with pytest.raises(DataError, match=r"no test split: put class folders with images into .*/test or .*/val$"):
        load_dataset(recipe(), insects.parent, CPU)
    image(insects / "val" / "ILSVRC2012_val_00000001.png")
    with pytest.raises(DataError, match=r"folder of their class, but ILSVRC2012_val_00000001\.png in .*/val are not"):
        load_dataset(recipe(), insects.parent, CPU)
    (insects / "val" / "ILSVRC2012_val_00000001.png").unlink()
    with pytest.raises(DataError, match=r"/val has no class folders"):
        load_dataset(recipe(), insects.parent, CPU)


@pytest.mark.parametrize("name", ["loop", "gone.png", "gone"])
def test_a_link_that_leads_nowhere_or_back_is_named(insects, name):
    link = insects / "train" / "ant" / name
    link.symlink_to({"loop": insects / "train" / "ant"}.get(name, insects / "nowhere"))
    said = {"loop": f"{link} links back to "}.get(name, f"{link} is neither a file nor a folder, or a broken link")
    with pytest.raises(DataError) as caught:
        load_dataset(recipe(), insects.parent, CPU)
    assert str(caught.value).startswith(said)


def test_a_link_to_itself_is_named(insects):
    link = insects / "train" / "ant" / "self"
    link.symlink_to(link)
    with pytest.raises(DataError, match="self cannot be read: Too many levels of symbolic links"):
        load_dataset(recipe(), insects.parent, CPU)


def test_an_image_that_is_gone_since_it_was_listed_is_named(insects):
    train, _ = read_class_folders(insects)
    (insects / "train" / "ant" / "3.png").unlink()
    with pytest.raises(DataError, match=r"ant/3\.png cannot be read: No such file or directory"):
        kept_file(train, None, "pt")


READ_AS_NOBODY = """
import os, sys, torch
from pathlib import Path
from lbadvisor.errors import LbadvisorError
from lbadvisor.training.data.class_folders import read_class_folders
from lbadvisor.training.data.preparation import load_dataset
from lbadvisor.training.data.decoding import size_of
if os.geteuid() == 0:
    os.seteuid(65534)
for read in (read_class_folders, lambda path: size_of(str(path / "train" / "ant" / "0.png"))):
    try:
        read(Path(sys.argv[1]))
    except LbadvisorError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="root may read all but where it gives up its rights")
@pytest.mark.parametrize("closed", ["train", "train/ant", "train/ant/0.png"])
def test_what_may_not_be_read_is_named(insects, closed):
    """A folder that may not be listed is no empty one, whose images would be left out in silence."""
    with tempfile.TemporaryDirectory() as place:  # pytest's own folders are closed to others
        Path(place).chmod(0o755)
        copy = Path(shutil.copytree(insects, Path(place) / "insects"))
        (copy / closed).chmod(0)
        done = subprocess.run([sys.executable, "-c", READ_AS_NOBODY, str(copy)], capture_output=True, text=True)
        (copy / closed).chmod(0o755)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].endswith("train/ant/0.png cannot be read: Permission denied")
    if closed != "train/ant/0.png":
        assert lines[0] == f"{copy / closed} cannot be read: Permission denied"
