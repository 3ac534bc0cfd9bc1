"""`lbadvisor verify-resume`: the proof holds where it should, and finds what is not the same."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from lbadvisor.errors import UsageError
from lbadvisor.recipe.file import load_recipe
from lbadvisor.records.run import Environment
from lbadvisor.runs import resume_proof
from lbadvisor.runs.resume_proof import (
    KILLED,
    RESUMED,
    STRAIGHT,
    BitDifference,
    ProofProgress,
    ResumeProof,
    first_difference,
)
from lbadvisor.training.machine import Machine
from lbadvisor.training.ranks import Ranks

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")


def test_a_killed_and_resumed_run_is_proved_identical_and_nothing_is_left(place, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    done = place.run("verify-resume", DIGITS, "--to", "256", "--updates", "12", "--at", "7", "--json")
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert (body["schema"], body["identical"], body["difference"]) == (1, True, None)
    assert (body["updates"], body["killed_at"], body["resumed_from"]) == (12, 7, 4)
    assert body["epoch"] == pytest.approx(7 * 256 / 1297)
    # 4 linear and 3 normalizing layers: 14 weights with a moment each, 9 statistics, and the interval.
    assert body["tensors"] == 14 + 14 + 9 + 1
    assert body["measurements"] == 12
    assert body["recipe"]["batch"]["size"] == 256
    assert body["environment"]["torch_version"] == torch.__version__
    assert [f"updates, {part}: " in done.stderr for part in (STRAIGHT, KILLED, RESUMED)] == [True] * 3
    assert list(temporary.iterdir()) == []
    assert list(place.folder.iterdir()) == []


def test_a_killed_and_resumed_group_of_ranks_is_proved_identical(place):
    done = place.run("verify-resume", DIGITS, "--to", "256", "--updates", "6", "--ranks", "2", "--json", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    body = json.loads(done.stdout)
    assert (body["identical"], body["ranks"], body["killed_at"], body["resumed_from"]) == (True, 2, 3, 2)
    assert list(place.folder.iterdir()) == []


def test_ranks_that_torchrun_started_start_no_others():
    machine = replace(Machine.here("cpu"), ranks=Ranks(0, 2))
    with pytest.raises(UsageError, match=r"give --ranks, without torchrun"):
        next(resume_proof.prove(machine, load_recipe(Path(DIGITS)), 0, None, None, 2))


def test_what_changed_between_the_two_runs_is_found_and_named(place, monkeypatch):
    """An image of the training set is replaced once the straight run is done: the proof must not hold."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(place.folder / "cache"))
    folder = place.folder / "data" / "dots"
    for split in ("train", "test"):
        for label in ("0", "1"):
            (folder / split / label).mkdir(parents=True)
            for i in range(10):
                Image.effect_noise((8, 8), 50).convert("RGB").save(folder / split / label / f"{i}.png")
    prove = resume_proof.prove

    def spoiled(*words):
        events = prove(*words)
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                return end.value
            yield event
            if event == ProofProgress(STRAIGHT, 6, 6):
                Image.new("RGB", (8, 8), "white").save(folder / "train" / "0" / "0.png")

    monkeypatch.setattr(resume_proof, "prove", spoiled)
    values = ("data.name=dots", "data.train_examples=20", "model.name=f1", "batch.size=10")
    short = ("schedule.updates=6", "schedule.milestones=[]")
    words = ("verify-resume", DIGITS, *(word for value in (*values, *short) for word in ("--set", value)))
    done = place.run(*words, "--json", "--quiet")
    body = json.loads(done.stdout)
    assert (done.returncode, done.stderr, body["identical"]) == (1, "", False)
    assert body["difference"]["name"].startswith("model.")
    assert 0 < body["difference"]["elements"] <= body["difference"]["of"]
    assert body["difference"]["largest"] > 0


def test_a_proof_that_fails_is_an_error_in_a_line(place, monkeypatch):
    environment = Environment("cuda", "NVIDIA H200", "0.1.0", "3.11.7", "2.15.0", None, None)
    recipe = load_recipe(Path(DIGITS))
    difference = BitDifference("model.1.weight", 7, 4096, 3.5e-8)
    proof = ResumeProof(recipe, 0, 24, 12, 0.296, 8, 38, 8, environment, 1, difference)

    def proved(*_):
        yield from ()
        return proof

    monkeypatch.setattr(resume_proof, "prove", proved)
    done = place.run("verify-resume", DIGITS)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "loading PyTorch\n"
        "error: not bit-identical after 24 updates: model.1.weight is the first to differ, 7 of 4096 elements, by up "
        "to 3.5e-08; kill -9 at update 12 (epoch 0.296), resumed from update 8 in a new process; cuda (NVIDIA "
        "H200), torch 2.15.0\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--updates", "406"), "--updates 406 is not between 2 and the recipe's 405 updates"),
        (("--updates", "5", "--at", "5"), "--at 5 is not between 1 and 4"),
        (
            ("--set", "schedule.updates=1", "--set", "schedule.milestones=[]"),
            "the kill needs at least two",
        ),
        (("--micro", "16"), "ghost batches"),
        (("--adapt", "lr"), "--to B"),
    ],
)
def test_what_cannot_be_proved_is_said(place, words, said):
    done = place.run("verify-resume", DIGITS, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert list(place.folder.iterdir()) == []


def test_what_a_run_fails_with_the_proof_fails_with(place):
    done = place.run("verify-resume", DIGITS, "--set", "optimizer.lr=1e30", "--updates", "6")
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: the run straight diverged" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_first_difference_is_counted_in_bits():
    left = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[0.0, math.nan, 3.0]]), "lr": 0.1}
    assert first_difference(left, dict(left)) is None
    other = left | {"b": torch.tensor([[-0.0, math.nan, 3.5]]), "lr": 0.2}
    assert first_difference(left, other) == BitDifference("b", 2, 3, 0.5)
    assert first_difference(left, left | {"lr": 0.2}) == BitDifference("lr", 1, 1, 0.1)
    assert first_difference({"lr": math.nan}, {"lr": math.nan}) is None
    wider = left | {"a": torch.tensor([1.0, 2.0], dtype=torch.float64)}
    assert first_difference(left, wider).name == "a"
    assert first_difference(left, left | {"c": 1}).name == "c (only resumed)"
    assert first_difference(left | {"c": 1}, left).name == "c (only straight)"
    step = {"a": torch.tensor(1.0), "b": torch.tensor(2**53 + 1)}
    assert first_difference(step, step | {"b": torch.tensor(2**53)}).elements == 1
