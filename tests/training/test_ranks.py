"""One training shared among ranks: their number changes nothing but the rounding of the sum of gradients."""

from pathlib import Path

import pytest
import torch
from ranks_of import run_on, saved
from torch import Tensor

from lbadvisor.batch_cuts import ghost_slices, rank_shares, share_of

RECIPE = str(Path(__file__).parents[2] / "recipes" / "digits.toml")


@pytest.mark.parametrize(("size", "ghost"), [(256, 32), (250, 32), (4096, 128), (100, 7), (51, 51)])
@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
def test_the_ghosts_of_a_batch_do_not_depend_on_the_number_of_ranks(size, ghost, ranks):
    """Every ghost is one rank's, in order; and cutting a rank's share again, as its layers do, gives its ghosts."""
    shares = rank_shares(size, ghost, ranks)
    assert len(shares) == ranks
    assert sum(shares, ()) == ghost_slices(size, ghost)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    for share in shares:
        assert not share or ghost_slices(sum(share), ghost) == share


def test_shares_follow_one_another():
    places = list(range(10))
    assert [places[share_of(10, rank, 3)] for rank in range(3)] == [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]]


SETTINGS = {
    "plain": ["--to", "256", "--schedule-scale", "0.03", "--measure", "layers,noise"],
    "uneven, in micro-batches, with every noise": [
        *(
            "--to",
            "250",
            "--schedule-scale",
            "0.03",
            "--micro",
            "64",
            "--set",
            "weight_ema.decay=0.9",
            "--measure",
            "noise",
        ),
        *("--set", "regularization.label_noise=0.1", "--set", "regularization.dropout=0.2"),
        *("--set", "regularization.drop_connect=0.1"),
    ],
    "multiplicative noise": ["--to", "256", "--schedule-scale", "0.24", "--arm", "noise"],
}


@pytest.mark.parametrize("words", SETTINGS.values(), ids=SETTINGS.keys())
def test_the_number_of_ranks_changes_only_the_rounding(words, tmp_path):
    """Of weights, running statistics, optimizer, averages and all measurements, after 12 updates."""
    length = ["--set", "measurements.every_epochs=0.05"]
    command = ["train", RECIPE, *words, *length, "--name", "shared"]
    found = {}
    for ranks in (1, 2, 4):
        database = tmp_path / f"{ranks}.db"
        ended = run_on(ranks, *command, "--db", str(database))
        assert [code for code, _, _ in ended] == [0] * ranks, ended
        assert all(out == err == "" for _, out, err in ended[1:])
        found[ranks] = saved(database, "shared")
    content, measured = found[1]
    assert len(measured) > 3, measured
    for ranks in (2, 4):
        others, theirs = found[ranks]
        assert_close(others["model"], content["model"])
        assert_close(others["optimizer"]["state"], content["optimizer"]["state"])
        assert_close(others["averages"], content["averages"])
        for mine, other in zip(measured, theirs, strict=True):
            assert (mine.update, mine.epoch, mine.examples, mine.lr) == (
                other.update,
                other.epoch,
                other.examples,
                other.lr,
            )
            assert other.evaluation_accuracy_percent == mine.evaluation_accuracy_percent
            assert [other.loss, other.gradient_norm, other.weight_distance] == pytest.approx(
                [mine.loss, mine.gradient_norm, mine.weight_distance], rel=1e-5
            )


def assert_close(found, expected):
    match expected:
        case Tensor() if expected.is_floating_point():
            assert torch.linalg.vector_norm(found - expected) <= 1e-5 * torch.linalg.vector_norm(expected) + 1e-7
        case Tensor():
            assert torch.equal(found, expected)
        case dict():
            for key in expected:
                assert_close(found[key], expected[key])
        case list():
            for one, other in zip(found, expected, strict=True):
                assert_close(one, other)
        case _:
            assert found == expected
