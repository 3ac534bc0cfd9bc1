"""One training shared among ranks: their number changes nothing but the rounding of the sum of gradients."""

import re
from pathlib import Path

import pytest
import torch
from ranks_of import run_on, saved
from torch import Tensor

from lbadvisor.batch_cuts import ghost_slices, rank_shares, share_of
from lbadvisor.store import Store

RECIPE = str(Path(__file__).parents[2] / "recipes" / "digits.toml")


@pytest.mark.parametrize(("size", "ghost"), [(256, 32), (250, 32), (4096, 128), (100, 7), (51, 17)])
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


def test_a_ladder_trains_every_arm_on_two_ranks_plain_batch_norm_too(tmp_path):
    """The baseline and arm LB compute the batch norm of a whole batch together: their numbers are those of one rank."""
    words = ["ladder", RECIPE, "--to", "256", "--arms", "sb,lb,gbn", "--seeds", "1", "--schedule-scale", "0.12"]
    words += ["--set", "measurements.every_epochs=0.1", "--measure", "noise", "--name", "shared"]
    stored = {}
    for ranks in (1, 2):
        ended = run_on(ranks, *words, "--db", str(tmp_path / f"{ranks}.db"))
        assert [code for code, _, _ in ended] == [0] * ranks, ended
        stored[ranks] = tmp_path / f"{ranks}.db"
    said = ended[0][2]
    assert (
        "note sb s0: batch norm over 32 examples spans 2 ranks, which wait for one another at every batch norm" in said
    )
    assert "note lb s0: batch norm over 256 examples spans 2 ranks" in said
    assert "each ghost" not in said
    for arm in ("sb", "lb", "gbn"):
        (alone, measured), (together, theirs) = (saved(path, f"shared-{arm}-s0") for path in stored.values())
        assert_close(together["model"], alone["model"])
        assert [m.evaluation_accuracy_percent for m in theirs] == [m.evaluation_accuracy_percent for m in measured]
        assert [m.gradient_norm for m in theirs] == pytest.approx([m.gradient_norm for m in measured], rel=1e-5)
        with Store.open(stored[1], create=False) as one, Store.open(stored[2], create=False) as two:
            readings = [[r.value for r in store.readings(store.run(f"shared-{arm}-s0").number)] for store in (one, two)]
        assert len(readings[0]) == 2
        assert readings[1] == pytest.approx(readings[0], rel=1e-5)


STOPS = """
import os, signal
from lbadvisor.cli.app import main
from lbadvisor.runs.recording import _Recording
keep = _Recording.keep
def keeping(self):
    keep(self)
    if self._state.update == 6:
        os.kill(os.getpid(), signal.SIGTERM)
_Recording.keep = keeping
main()
"""


@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2)])
def test_a_run_stopped_on_some_ranks_is_resumed_on_another_number(first, second, tmp_path):
    """As one that was not stopped, up to rounding; and it says that it is not to the bit."""
    train = ["train", RECIPE, *SETTINGS["plain"], "--set", "measurements.every_epochs=0.05", "--name", "moved"]
    straight, moved = tmp_path / "straight.db", tmp_path / "moved.db"
    assert run_on(1, *train, "--db", str(straight))[0][0] == 0
    stopped = run_on(first, *train, "--db", str(moved), program=("-c", STOPS))
    assert [code for code, _, _ in stopped] == [75] * first, stopped
    ended = run_on(second, "resume", "moved", "--db", str(moved))
    assert [code for code, _, _ in ended] == [0] * second, ended
    assert "resuming from update 6 of 12" in ended[0][2]
    assert f"resumed by {second}: equal up to rounding, not bit for bit" in ended[0][2]
    (content, measured), (others, theirs) = saved(straight, "moved"), saved(moved, "moved")
    assert_close(others["model"], content["model"])
    assert_close(others["optimizer"]["state"], content["optimizer"]["state"])
    assert [one.update for one in theirs] == [one.update for one in measured]
    assert [one.loss for one in theirs] == pytest.approx([one.loss for one in measured], rel=1e-5)


def test_a_run_that_diverges_in_its_last_update_ends_on_all_ranks(tmp_path, monkeypatch):
    """Its last loss is finite, its weights are not: the others have made their last update, and hear of the end."""
    monkeypatch.setenv("LBADVISOR_RANK_TIMEOUT", "10")
    recipe = tmp_path / "one_update.toml"
    recipe.write_text(re.sub(r"\[\[schedule.milestones\]\][^\[]*", "", Path(RECIPE).read_text()))
    words = ["--set", "schedule.epochs=0.02", "--set", "optimizer.lr=1e39"]
    ended = run_on(2, "train", str(recipe), *words, "--name", "far", "--db", str(tmp_path / "far.db"))
    assert "diverged: its weights or its loss are not finite at update" in ended[0][2], ended
    assert [err for _, _, err in ended[1:]] == [""], ended


def test_a_state_that_cannot_be_saved_is_not_told_to_the_other_ranks(tmp_path, monkeypatch):
    """Its first save fails, and the ladder's next run must find the others waiting."""
    monkeypatch.setenv("LBADVISOR_RANK_TIMEOUT", "10")
    (tmp_path / "endless.py").write_text(
        "from torch import nn\n"
        "def network():\n"
        "    made = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        "    made[1].weight.data.fill_(float('inf'))\n"
        "    return made\n"
    )
    recipe = tmp_path / "endless.toml"
    recipe.write_text(Path(RECIPE).read_text().replace('name = "digits_mlp"', 'factory = "endless:network"'))
    words = ["--to", "64", "--arms", "sb,lb", "--seeds", "1", "--schedule-scale", "0.1"]
    ended = run_on(2, "ladder", str(recipe), *words, "--db", str(tmp_path / "far.db"))
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert ended[0][2].count("diverged") >= 2, ended
    assert ended[1][2] == ""


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
