"""Streamed data: the same images whatever the workers, the place of resuming, and whether they could be packed."""

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lbadvisor.errors import DataError
from lbadvisor.planning.plan import advise
from lbadvisor.planning.request import Request
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.parts import PARTS
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.data import streaming
from lbadvisor.training.data.in_memory import InMemory
from lbadvisor.training.data.order import batch_indices
from lbadvisor.training.data.preparation import load_dataset, preparing
from lbadvisor.training.data.streaming import Streamed
from lbadvisor.training.evaluation import evaluate
from lbadvisor.training.loop import train
from lbadvisor.training.state import load_checkpoint, save_checkpoint, start_state

CPU = torch.device("cpu")
ALEXNET = Path(__file__).parents[2] / "recipes" / "imagenet_alexnet.toml"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three classes of 12 training and 4 test images, of 80 to 160 pixels a side: noise about a class's colour."""
    folder, draws = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for number, name in enumerate(("ant", "bee", "cat")):
            place = folder / "imagenet" / split / name
            place.mkdir(parents=True)
            for i in range(count):
                height, width = draws.integers(80, 161, 2)
                pixels = draws.integers(0, 128, (height, width, 3), dtype=np.uint8)
                pixels[..., number] += 100
                Image.fromarray(pixels).save(place / f"{i:02}.jpg")
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def recipe(examples=36, batch=10, name="imagenet", **data):
    return Recipe.model_validate(
        {
            "schema": 1,
            "name": "r",
            "data": {"name": name, "train_examples": examples} | data,
            "model": {"name": "f1"},
            "batch": {"size": batch},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "schedule": {"updates": 9},
        }
    )


def crops(**other):
    return recipe(**{"augmentation": "random-resized-crop", "image_size": 24} | other)


def loaded(wanted, folder, **options):
    progress = preparing(wanted, folder, CPU, **options)
    while True:
        try:
            next(progress)
        except StopIteration as end:
            return end.value


def batches(dataset, wanted, updates, seed=0):
    return [dataset.training_batch(wanted, seed, update) for update in updates]


def same(left, right):
    pairs = [(a, b) for one, two in zip(left, right, strict=True) for a, b in zip(one, two, strict=True)]
    return len(pairs) > 0 and all(torch.equal(a, b) for a, b in pairs)


def test_the_number_of_workers_changes_nothing(photos):
    """Nine batches of ten, so two and a half epochs of 36, and the evaluation's: equal bit for bit."""
    sets = [loaded(crops(), photos, workers=workers) for workers in (0, 1, 3)]
    assert all(isinstance(each, Streamed) for each in sets)
    trained = [batches(each, crops(), range(9)) for each in sets]
    tested = [list(each.evaluation_batches()) for each in sets]
    for other in (1, 2):
        assert same(trained[0], trained[other])
        assert same(tested[0], tested[other])


def test_a_resumed_stream_is_the_same_from_there(photos):
    """The fifth update onwards, asked for first, or after others of another seed, or backwards."""
    straight = batches(loaded(crops(), photos, workers=2), crops(), range(9))
    resumed = loaded(crops(), photos, workers=2)
    assert same(straight[4:], batches(resumed, crops(), range(4, 9)))
    other = batches(resumed, crops(), range(2), seed=1)
    assert not same(straight[:2], other)
    assert same(straight[8:1:-3], batches(resumed, crops(), range(8, 1, -3)))


def test_the_stream_of_crops_is_the_same_whatever_the_batch(photos):
    small, large = (loaded(crops(batch=size), photos, workers=1) for size in (5, 20))
    parts = [small.training_batch(crops(batch=5), 3, update)[0] for update in range(8)]
    wholes = [large.training_batch(crops(batch=20), 3, update)[0] for update in range(2)]
    assert torch.equal(torch.cat(parts), torch.cat(wholes))


def test_an_example_is_cropped_elsewhere_in_the_next_epoch(photos):
    whole = crops(batch=36)
    first, second = batches(loaded(whole, photos, workers=2), whole, range(2))
    assert sorted(first[1].tolist()) == sorted(second[1].tolist()) == [0] * 12 + [1] * 12 + [2] * 12
    assert not any(torch.equal(a, b) for a in first[0] for b in second[0])


def test_a_dropped_data_set_does_not_read_on(photos, monkeypatch):
    """When the first update is there, its one worker has hundreds of images before it: they are let go, and it ends."""
    large = crops(batch=36)
    dataset = loaded(large, photos, workers=1)  # decodes all of them, if they were not counted before
    before = set(threading.enumerate())
    decoded_into, turns, go_on = streaming.decoded_into, itertools.count(), threading.Event()

    def decoded_in_turn(*words):
        """Those of the first update at once. Workers of other tests' data sets may still read on."""
        if threading.current_thread() not in before and next(turns) >= 36:
            go_on.wait(300)
        decoded_into(*words)

    monkeypatch.setattr(streaming, "decoded_into", decoded_in_turn)
    dataset.training_batch(large, 0, 0)
    (worker,) = set(threading.enumerate()) - before
    waiting = [part for asked in dataset._asked.values() for part in asked.work]
    del dataset
    go_on.set()
    worker.join(timeout=300)
    assert not worker.is_alive()
    assert any(part.cancelled() for part in waiting)


@pytest.mark.parametrize("augmentation", ["none", "pad-crop-flip"])
def test_what_does_not_fit_into_memory_gives_the_same_batches(photos, augmentation):
    """Packed or streamed is a question of speed: batches, normalization and evaluation are equal bit for bit."""
    wanted = recipe(image_size=24, augmentation=augmentation)
    kept, streamed = (loaded(wanted, photos, packed_at_most_bytes=most) for most in (1e6, 1e4))
    assert isinstance(kept, InMemory)
    assert isinstance(streamed, Streamed)
    for each in (kept, streamed):
        assert (each.shape, each.classes) == ((3, 24, 24), 3)
        assert (each.train_examples, each.test_examples) == (36, 12)
    assert torch.equal(kept.mean_C, streamed.mean_C)
    assert torch.equal(kept.deviation_C, streamed.deviation_C)
    assert same(batches(kept, wanted, range(9)), batches(streamed, wanted, range(9)))
    assert same(list(kept.evaluation_batches()), list(streamed.evaluation_batches()))


def test_pixels_are_counted_once(photos, tmp_path):
    wanted = recipe(image_size=24)
    told = [list(preparing(wanted, photos, CPU, packed_at_most_bytes=0)) for _ in range(2)]
    assert [(event.task, event.done, event.total) for event in told[0]] == [
        ("reading imagenet", 0, None),
        ("measuring imagenet/train", 0, 36),
        ("measuring imagenet/train", 36, 36),
    ]
    assert len(told[1]) == 1
    assert [file.suffix for file in (tmp_path / "cache" / "lbadvisor" / "packed").iterdir()] == [".counts"]


def test_random_crops_are_normalized_by_imagenets_constants(photos):
    dataset = loaded(crops(), photos)
    assert (dataset.mean_C / 255).tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert (dataset.deviation_C / 255).tolist() == pytest.approx([0.229, 0.224, 0.225])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named_when_its_turn_comes(photos, tmp_path, workers):
    wanted = crops(name="some", examples=36)
    (tmp_path / "some").symlink_to(photos / "imagenet")
    whole = loaded(wanted, tmp_path, workers=workers)
    broken = tmp_path / "own" / "some"
    for file in (photos / "imagenet").rglob("*.jpg"):
        target = broken / file.relative_to(photos / "imagenet")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    (broken / "train" / "bee" / "03.jpg").write_bytes(b"no image")
    (broken / "test" / "cat" / "01.jpg").write_bytes(b"no image")
    dataset = loaded(wanted, tmp_path / "own", workers=workers)
    of_bee_03 = [15 in batch_indices(0, update, 10, 36) for update in range(4)].index(True)
    before = range(of_bee_03)
    assert before
    assert same(batches(dataset, wanted, before), batches(whole, wanted, before))
    with pytest.raises(DataError, match=r"bee.03\.jpg cannot be read"):
        dataset.training_batch(wanted, 0, of_bee_03)
    with pytest.raises(DataError, match=r"cat.01\.jpg cannot be read"):
        list(dataset.evaluation_batches())


def test_images_of_unequal_size_need_an_image_size(photos):
    with pytest.raises(DataError, match=r"differ in size.*data\.image_size"):
        loaded(recipe(), photos)
    with pytest.raises(DataError, match=r"differ in size.*data\.image_size"):
        loaded(recipe(), photos, packed_at_most_bytes=0)


def test_the_alexnet_recipe_trains_on_photos_small_and_adapted(photos, tmp_path):
    """Of images of 64 pixels; stopped after one update and gone on with, it ends with the same weights."""
    small = load_recipe(
        ALEXNET,
        [
            "data.train_examples=36",
            "data.image_size=64",
            "batch.size=6",
            "schedule.updates=3",
            "schedule.milestones=[]",
        ],
    )
    adapted = advise(small, Request(12, PARTS)).adapted
    assert adapted.batch_norm.ghost_batch_size == 6
    for wanted in (small, adapted):
        dataset = load_dataset(wanted, photos, CPU)
        assert (dataset.shape, dataset.classes) == ((3, 64, 64), 3)
        state = start_state(in_updates(wanted), 0, dataset.shape, dataset.classes, CPU)
        updates = train(state, dataset)
        next(updates)
        path = save_checkpoint(tmp_path, state)
        last = list(updates)[-1].measurement
        assert (last.update, last.epoch) == (3, pytest.approx(3 * wanted.batch.size / 36))
        assert 0 < last.loss < 5
        assert last.weight_distance > 0
        assert evaluate(state, dataset) == (last.evaluation_loss, last.evaluation_accuracy_percent)

        resumed = start_state(in_updates(wanted), 0, dataset.shape, dataset.classes, CPU)
        load_checkpoint(path, resumed)
        list(train(resumed, load_dataset(wanted, photos, CPU)))
        pairs = zip(state.parameters, resumed.parameters, strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
