"""`lbadvisor probe noise`, and readings from the command that trains to the answer."""

import json
from pathlib import Path

import pytest

from lbadvisor.diagnostics.noise.noise_estimate import stored_noise_scale
from lbadvisor.store import Store

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")


@pytest.fixture
def trained(place):
    for seed in ("0", "1"):
        words = ("train", DIGITS, "--seed", seed, "--measure", "noise", "--quiet")
        assert place.run(*words).returncode == 0
    return place


def test_runs_answer_with_what_they_read(trained):
    with Store.open(trained.database, create=False) as store:
        expected = stored_noise_scale(store, store.runs())
        updates = [one.update for one in store.readings(1)]
    assert sorted(set(updates)) == [10, 100, 200, 300, 400]  # the first measurement in each 100 updates
    done = trained.run("probe", "noise", "1", "2", "--to", "512", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    body = json.loads(done.stdout)
    assert body["schema"] == 1
    assert body["noise_scale"]["examples"] == expected.examples
    assert (body["seeds"], sum(window["readings"] for window in body["windows"])) == ([0, 1], 10)
    assert body["larger"]["stretch"]["value"] * body["larger"]["gain"]["value"] == pytest.approx(16)
    table = trained.run("probe", "noise", "1", "2", "--no-chart")
    assert f"The noise scale is {expected.examples:,.3g}" in table.stdout
    assert "arXiv:2505.23971" in table.stdout


def test_what_is_no_seed_of_one_training_or_has_no_readings_is_refused(trained):
    assert trained.run("train", DIGITS, "--name", "plain", "--seed", "2", "--quiet").returncode == 0
    without = trained.run("probe", "noise", "plain")
    assert (without.returncode, without.stdout) == (2, "")
    assert "the run plain has no readings of the gradient's noise" in without.stderr
    assert "`--measure noise`" in without.stderr
    words = ("train", DIGITS, "--name", "other", "--set", "optimizer.lr=0.1", "--measure", "noise", "--quiet")
    assert trained.run(*words).returncode == 0
    mixed = trained.run("probe", "noise", "1", "other")
    assert mixed.returncode == 2
    assert "1, other: these 2 runs differ in more than their seed" in mixed.stderr


def test_a_recipe_is_measured_and_nothing_is_stored(place):
    words = ("probe", "noise", DIGITS, "--updates", "4", "--seeds", "2")
    priced = place.run(*words, "--dry-run")
    assert (priced.returncode, priced.stdout) == (0, "nothing was done\n")
    # Two seeds of 4 updates of 32, and after each of them 8 further batches of 32.
    assert "2,304 examples" in priced.stderr
    done = place.run(*words, "--json")
    body = json.loads(done.stdout)
    assert body["examples"] == 2304
    assert sum(window["readings"] for window in body["windows"]) == 8
    assert body["noise_scale"]["low"] < body["noise_scale"]["examples"] < body["noise_scale"]["high"]
    assert json.loads(place.run(*words, "--json").stdout) == body
    assert list(place.folder.iterdir()) == []


def test_what_cannot_be_measured_is_said(place):
    large = place.run("probe", "noise", DIGITS, "--set", "batch.size=1000")
    assert (large.returncode, large.stdout) == (2, "")
    assert "1297 examples are fewer than two batches of 1000" in large.stderr
    long = place.run("probe", "noise", DIGITS, "--updates", "500")
    assert long.returncode == 2
    assert "the training has only 405 updates" in long.stderr


def test_a_training_that_diverges_has_no_noise_scale(place):
    done = place.run("probe", "noise", DIGITS, "--set", "optimizer.lr=1e30")
    assert (done.returncode, done.stdout) == (1, "")
    assert "digits diverged within 1 update, so its gradient has no noise scale" in done.stderr
