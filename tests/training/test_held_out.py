"""Validation examples: the same for every seed and batch, evenly by class, apart from what is trained on and tested."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lbadvisor.errors import DataError, RecipeError
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.data.held_out import parted
from lbadvisor.training.data.in_memory import InMemory
from lbadvisor.training.data.preparation import load_dataset, preparing
from lbadvisor.training.data.streaming import Streamed
from lbadvisor.training.evaluation import evaluate
from lbadvisor.training.loop import train
from lbadvisor.training.state import start_state

CPU = torch.device("cpu")


def recipe(name="digits", train_examples=1167, validation_examples=130, **tables):
    body = {
        "schema": 1,
        "name": "r",
        "data": {"name": name, "train_examples": train_examples, "validation_examples": validation_examples},
        "model": {"name": "digits_mlp"},
        "batch": {"size": 4},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "schedule": {"updates": 20},
    }
    return in_updates(Recipe.model_validate(body | tables))


def rows(images_NCHW):
    return {bytes(image.numpy().tobytes()) for image in images_NCHW}


def test_each_class_is_held_out_by_its_share_to_within_one():
    """10 of 50, 30 and 20 examples: 5, 3 and 2; 11: 5.5, 3.3 and 2.2, the one left over goes to the first."""
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)[torch.randperm(100)]
    for count, shares in ((10, [5, 3, 2]), (11, [6, 3, 2]), (99, [49, 30, 20]), (1, [1, 0, 0])):
        kept, held_out = parted(labels, count)
        assert labels[held_out].bincount(minlength=3).tolist() == shares
        assert sorted([*kept.tolist(), *held_out.tolist()]) == list(range(100))
        assert kept.tolist() == sorted(kept.tolist())


def test_what_is_held_out_is_a_function_of_the_data_alone():
    labels = torch.arange(1000) % 7
    first = parted(labels, 100)[1]
    torch.manual_seed(5)
    torch.rand(3)
    assert torch.equal(parted(labels.clone(), 100)[1], first)
    assert first.tolist() != list(range(100))


@pytest.mark.parametrize("count", [0, 1000, 1001])
def test_nothing_and_everything_cannot_be_held_out(count):
    with pytest.raises(DataError, match="cannot hold out"):
        parted(torch.arange(1000) % 7, count)


def test_the_digits_are_trained_on_validated_on_and_tested_on_apart():
    whole, parts = (
        load_dataset(recipe(train_examples=1297, validation_examples=None), None, CPU),
        load_dataset(recipe(), None, CPU),
    )
    assert (parts.train_examples, parts.evaluation_examples, parts.test_examples) == (1167, 130, 500)
    assert rows(parts.train.images_NCHW) | rows(parts.validation.images_NCHW) == rows(whole.train.images_NCHW)
    assert not rows(parts.train.images_NCHW) & rows(parts.validation.images_NCHW)
    assert torch.equal(parts.test.images_NCHW, whole.test.images_NCHW)
    # Normalization is of what is trained on alone: nothing of the held-out pixels gets in.
    pixels = parts.train.images_NCHW.double()
    assert parts.mean_C.item() == pytest.approx(pixels.mean().item(), rel=1e-6)
    assert (whole.evaluation_examples, whole.validation) == (500, None)


def test_evaluations_during_training_are_on_the_held_out_examples_and_the_test_set_on_request():
    digits, state = load_dataset(recipe(), None, CPU), start_state(recipe(), 0, (1, 8, 8), 10, CPU)
    last = [m.measurement for m in train(state, digits) if m is not None][-1]
    assert evaluate(state, digits) == (last.evaluation_loss, last.evaluation_accuracy_percent)
    assert last.evaluation_accuracy_percent * 130 / 100 == pytest.approx(
        round(last.evaluation_accuracy_percent * 130 / 100)
    )
    _, tested = evaluate(state, digits, test=True)
    assert tested * 500 / 100 == pytest.approx(round(tested * 500 / 100))
    assert tested != last.evaluation_accuracy_percent


def test_another_sum_than_the_data_have_is_an_error_that_says_what_to_give():
    said = r"is 1000, besides 100 held out .* has 1297 training examples\n  = give --set data\.train_examples=1197"
    with pytest.raises(RecipeError, match=said):
        load_dataset(recipe(train_examples=1000, validation_examples=100), None, CPU)


@pytest.fixture
def insects(tmp_path, monkeypatch) -> Path:
    """Two classes of 10 training and 3 test images, of 8x8 pixels."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draws = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 3)):
        for name in ("ant", "bee"):
            folder = tmp_path / "data" / "insects" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "data"


def test_streamed_and_packed_sets_hold_the_same_images_out(insects):
    asked, sets = recipe("insects", 16, 4), []
    for most in (1e9, 0):
        progress = preparing(asked, insects, CPU, workers=1, packed_at_most_bytes=most)
        while True:
            try:
                next(progress)
            except StopIteration as end:
                sets.append(end.value)
                break
    packed, streamed = sets
    assert (type(packed), type(streamed)) == (InMemory, Streamed)
    for each in sets:
        assert (each.train_examples, each.evaluation_examples, each.test_examples) == (16, 4, 6)
        (_, labels), *_ = each.evaluation_batches()
        assert labels.bincount().tolist() == [2, 2]
    for test in (False, True):
        (left, _), *_ = packed.evaluation_batches(test=test)
        (right, _), *_ = streamed.evaluation_batches(test=test)
        assert torch.equal(left, right)
    assert torch.equal(packed.training_batch(asked, 0, 3)[0], streamed.training_batch(asked, 0, 3)[0])
