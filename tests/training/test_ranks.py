"""One training shared among ranks: their number changes nothing but the rounding of the sum of gradients."""

import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ranks_of import saved
from torch import Tensor

from lbadvisor.batch_cuts import ghost_slices, rank_shares, share_of
from lbadvisor.records.run import Guarantee
from lbadvisor.runs.on_ranks import places_here
from lbadvisor.store import Store

LONG = 300
"""Seconds that nothing takes."""
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


@pytest.fixture
def start_on(forked):
    """Starts a command line on several ranks."""

    def start(ranks, *words, **settings):
        places = places_here(ranks) if ranks > 1 else [{}]
        return [forked(*words, environment=place, **settings) for place in places]

    return start


@pytest.fixture
def run_on(start_on):
    """The exit code, output and messages of each rank."""

    def run(ranks, *words):
        processes = start_on(ranks, *words)
        spoken = [process.communicate(LONG) for process in processes]
        return [(process.returncode, out, err) for process, (out, err) in zip(processes, spoken, strict=True)]

    return run


PLAIN = ["--to", "256", "--schedule-scale", "0.03", "--set", "measurements.every_epochs=0.05"]
"""12 updates."""


def test_the_number_of_ranks_changes_no_bit_of_a_run_in_shares(run_on, tmp_path):
    """Weights, running statistics, optimizer, averages, all that is measured: in micro-batches, with uneven shares."""
    command = ["train", RECIPE, "--to", "250", "--micro", "32", "--shares", "4", "--schedule-scale", "0.03"]
    command += ["--set", "weight_ema.decay=0.9", "--set", "regularization.dropout=0.2", "--measure", "layers,noise"]
    command += ["--set", "measurements.every_epochs=0.05", "--name", "shared"]
    said = {
        1: "note each update is computed in 4 shares, one after the other",
        2: "note 2 ranks train it, each 2 of 4 shares of every update",
        4: "note 4 ranks train it, each a share of every update",
    }
    found, readings = {}, {}
    for ranks, note in said.items():
        database = tmp_path / f"{ranks}.db"
        ended = run_on(ranks, *command, "--db", str(database))
        assert [code for code, _, _ in ended] == [0] * ranks, ended
        assert note in ended[0][2].splitlines()
        assert all(out == err == "" for _, out, err in ended[1:])
        found[ranks] = saved(database, "shared")
        with Store.open(database, create=False) as store:
            run = store.run("shared")
            assert (run.ranks, run.shares) == (ranks, 4)
            readings[ranks] = store.readings(run.number)
    assert len(found[1][1]) > 3
    assert len(readings[1]) > 10
    for ranks in (2, 4):
        assert_same(found[ranks][0], found[1][0])
        assert results(found[ranks][1]) == results(found[1][1])
        assert readings[ranks] == readings[1]


def results(measured):
    """What was measured, but for its time."""
    return [replace(one, seconds=0.0) for one in measured]


def test_a_ladder_trains_every_arm_on_two_ranks_plain_batch_norm_too(run_on, tmp_path):
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


@pytest.mark.parametrize(
    ("shares", "first", "second", "straight", "note"),
    [
        (
            None,
            2,
            1,
            2,
            "saved by 2 ranks of 1 CPU thread, resumed by 1 rank in the same shares: bit for bit",
        ),
        (
            4,
            1,
            2,
            1,
            "saved by 1 rank of 1 CPU thread in 4 shares, resumed by 2 ranks in the same shares: bit for bit",
        ),
        (
            None,
            1,
            2,
            1,
            "saved by 1 rank of 1 CPU thread, resumed by 2 ranks of 1 CPU thread: equal up to rounding, not bit "
            "for bit",
        ),
    ],
)
def test_a_run_stopped_on_some_ranks_is_resumed_on_another_number(
    start_on, run_on, shares, first, second, straight, note, tmp_path
):
    """As one that was not stopped: to the bit if its updates keep their shares, else up to rounding; and it says so."""
    train = ["train", RECIPE, *PLAIN, *(["--shares", str(shares)] if shares else []), "--name", "moved"]
    unstopped, moved = tmp_path / "straight.db", tmp_path / "moved.db"
    processes = start_on(straight, *train, "--db", str(unstopped))
    stopped = start_on(first, *train, "--db", str(moved), held_at=6)
    stopped[0].wait_until_held()
    stopped[0].send_signal(signal.SIGTERM)
    stopped[0].go_on()
    assert [process.wait(LONG) for process in (*processes, *stopped)] == [0] * straight + [75] * first
    ended = run_on(second, "resume", "moved", "--db", str(moved))
    assert [code for code, _, _ in ended] == [0] * second, ended
    assert "resuming from update 6 of 12" in ended[0][2]
    assert f"note {note}" in ended[0][2].splitlines()
    (content, measured), (others, theirs) = saved(unstopped, "moved"), saved(moved, "moved")
    with Store.open(moved, create=False) as store:
        guarantee = store.run("moved").guarantee
    if "up to rounding" in note:
        assert guarantee is Guarantee.SAME_ORDER
        assert_close(others["model"], content["model"])
        assert_close(others["optimizer"]["state"], content["optimizer"]["state"])
        assert [one.loss for one in theirs] == pytest.approx([one.loss for one in measured], rel=1e-5)
    else:
        assert guarantee is Guarantee.BIT_EXACT
        assert_same(others, content)
        assert results(theirs) == results(measured)
    assert [one.update for one in theirs] == [one.update for one in measured]


def test_a_run_that_diverges_in_its_last_update_ends_on_all_ranks(run_on, tmp_path, monkeypatch):
    """Its last loss is finite, its weights are not: the others have made their last update, and hear of the end."""
    monkeypatch.setenv("LBADVISOR_RANK_TIMEOUT", "10")
    recipe = tmp_path / "one_update.toml"
    recipe.write_text(re.sub(r"\[\[schedule.milestones\]\][^\[]*", "", Path(RECIPE).read_text()))
    words = ["--set", "schedule.epochs=0.02", "--set", "optimizer.lr=1e39"]
    ended = run_on(2, "train", str(recipe), *words, "--name", "far", "--db", str(tmp_path / "far.db"))
    assert "diverged: its weights or its loss are not finite at update" in ended[0][2], ended
    assert [err for _, _, err in ended[1:]] == [""], ended


def test_a_state_that_cannot_be_saved_is_not_told_to_the_other_ranks(run_on, tmp_path, monkeypatch):
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


def assert_close(found, expected, relative=1e-5, absolute=1e-7):
    match expected:
        case Tensor() if expected.is_floating_point():
            norm = torch.linalg.vector_norm
            assert norm(found - expected) <= relative * norm(expected) + absolute
        case Tensor():
            assert torch.equal(found, expected)
        case dict():
            for key in expected:
                assert_close(found[key], expected[key], relative, absolute)
        case list():
            for one, other in zip(found, expected, strict=True):
                assert_close(one, other, relative, absolute)
        case _:
            assert found == expected


def assert_same(found, expected):
    """Every bit, but for the time it took."""
    parts = expected.keys() - {"seconds"}
    assert_close({part: found[part] for part in parts}, {part: expected[part] for part in parts}, 0.0, 0.0)
