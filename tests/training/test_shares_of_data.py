"""What the ranks read, decode and augment is, put together, what one process does: every bit, each example once."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from lbadvisor.batch_cuts import EVERYTHING, rank_shares, share_of
from lbadvisor.errors import DataError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.data.dataset import Split
from lbadvisor.training.data.in_memory import in_memory
from lbadvisor.training.data.order import batch_indices
from lbadvisor.training.data.own_data import OwnData, OwnExamples, OwnTensors
from lbadvisor.training.data.preparation import preparing

CPU = torch.device("cpu")
CUTS = {
    "even": (5, 5, 5),
    "in ghosts of 4": tuple(map(sum, rank_shares(15, 4, 3))),
    "one example": (1, 14),
    "one rank": (15,),
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def recipe(name="own", **data):
    """40 examples in batches of 15: the third straddles two epochs."""
    return Recipe.model_validate(
        {
            "schema": 1,
            "name": "r",
            "data": {"name": name, "train_examples": 40} | data,
            "model": {"name": "f1"},
            "batch": {"size": 15},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "schedule": {"updates": 9},
        }
    )


def pictures(count, seed):
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=draws)
    return Split(images, torch.arange(count) % 3)


def of_memory(_):
    return recipe(augmentation="pad-crop-flip"), in_memory(pictures(40, 0), pictures(7, 1), CPU, pictures(5, 2))


def of_folders(folder, *, workers, most, **data):
    draws = np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 4)):
        for name in ("ant", "bee"):
            place = folder / "insects" / split / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = draws.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number:02}.png")
    wanted = recipe("insects", image_size=12, **data)
    progress = preparing(wanted, folder, CPU, workers=workers, packed_at_most_bytes=most)
    while True:
        try:
            next(progress)
        except StopIteration as end:
            return wanted, end.value


class Drawing(torch.utils.data.Dataset):
    """Each example draws from all the global generators."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, place):
        return torch.tensor([place, random.random(), np.random.rand(), torch.rand(()).item()]), place % 3


def tensors(count, seed):
    return OwnTensors(torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)), torch.arange(count) % 3)


DATA = {
    "in memory": of_memory,
    "streamed by threads, randomly cropped": lambda folder: of_folders(
        folder, workers=2, most=0, augmentation="random-resized-crop"
    ),
    "streamed, randomly cropped": lambda folder: of_folders(
        folder, workers=0, most=0, augmentation="random-resized-crop"
    ),
    "streamed": lambda folder: of_folders(folder, workers=2, most=0, augmentation="pad-crop-flip"),
    "packed": lambda folder: of_folders(folder, workers=2, most=1e9),
    "own tensors": lambda _: (recipe(), OwnData(tensors(40, 0), tensors(7, 1), (4,), 3, True, CPU, tensors(5, 2))),
    "own examples": lambda _: (
        recipe(),
        OwnData(OwnExamples(Drawing(40)), OwnExamples(Drawing(7)), (4,), 3, True, CPU),
    ),
}


def put_together(parts):
    return [torch.cat(part) for part in zip(*parts, strict=True)]


def assert_same(found, expected):
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", DATA)
def test_the_parts_of_a_batch_are_the_batch(kind, tmp_path):
    """Also of one that straddles two epochs; each rank looks ahead at its own parts."""
    wanted, dataset = DATA[kind](tmp_path)
    wholes = [dataset.training_batch(wanted, 3, update, EVERYTHING) for update in range(5)]
    assert not torch.equal(wholes[0][0], wholes[1][0])
    for sizes in CUTS.values():
        ends = np.cumsum(sizes).tolist()
        parts = [
            [dataset.training_batch(wanted, 3, update, slice(end - size, end)) for update in range(5)]
            for end, size in zip(ends, sizes, strict=True)
        ]
        for update, whole in enumerate(wholes):
            assert_same(put_together(its[update] for its in parts), whole)


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("test", [False, True])
def test_every_evaluation_example_is_one_ranks(kind, test, tmp_path):
    """Of those held out, or of the test set; in order, also for more ranks than examples."""
    _, dataset = DATA[kind](tmp_path)
    examples = dataset.test_examples if test else dataset.evaluation_examples
    whole = put_together(dataset.evaluation_batches(test=test))
    assert len(whole[1]) == examples
    for ranks in (2, 3, examples + 2):
        shares = [share_of(examples, rank, ranks) for rank in range(ranks)]
        parts = [dataset.evaluation_batches(test=test, own=own) for own in shares if range(examples)[own]]
        assert_same(put_together(batch for its in parts for batch in its), whole)
        assert sum(len(range(examples)[own]) for own in shares) == examples


def test_a_rank_decodes_only_its_own_places(tmp_path):
    """The files of the others' are not even there any more."""
    wanted, dataset = of_folders(tmp_path, workers=0, most=0, augmentation="random-resized-crop")
    files = sorted((tmp_path / "insects" / "train").rglob("*.png"))
    own = set(batch_indices(3, 0, 15, 40)[4:9].tolist())
    for number, file in enumerate(files):
        if number not in own:
            file.unlink()
    images, labels = dataset.training_batch(wanted, 3, 0, slice(4, 9))
    assert len(images) == len(labels) == 5
    with pytest.raises(DataError):
        dataset.training_batch(wanted, 3, 0, slice(4, 10))


def test_a_rank_asks_only_for_its_own_examples():
    asked = []

    class Counted(Drawing):
        def __getitem__(self, place):
            asked.append(place)
            return super().__getitem__(place)

    dataset = OwnData(OwnExamples(Counted(40)), OwnExamples(Drawing(7)), (4,), 3, True, CPU)
    dataset.training_batch(recipe(), 3, 2, slice(4, 9))
    assert asked == batch_indices(3, 2, 15, 40)[4:9].tolist()
