"""Runs trained elsewhere in the commands: listed, shown, exported, compared beside ours; never trained here."""

import csv
import io
import json
from pathlib import Path

import pytest

import lbadvisor
from lbadvisor.recipe.file import dump_recipe

DIGITS = Path(__file__).parents[2] / "recipes" / "digits.toml"
SETTINGS = {
    "batch_size": 32, "examples": 1297, "optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "updates": 40,
    "data": "digits", "model": "my_net", "layers": 3,
}  # fmt: skip


@pytest.fixture
def elsewhere(place):
    """Two seeds of a loop that tells its loss, and its accuracy at the end."""
    for seed in (0, 1):
        with lbadvisor.record(f"mine-s{seed}", SETTINGS, seed, place.database, program="my loop") as run:
            for update in range(10, 41, 10):
                run.log(update, loss=1 / update)
            run.log(40, accuracy=95.0 + seed)
    return place


def test_every_reader_of_runs_copes_with_what_is_absent(elsewhere):
    listed = elsewhere.run("runs", "--where", "recorded.layers=3")
    assert "mine-s1" in listed.stdout
    shown = elsewhere.run("runs", "show", "mine-s0")
    assert 'program = "my loop"' in shown.stdout
    assert "nan" not in shown.stdout
    (row, *_), last = (rows := list(csv.DictReader(io.StringIO(elsewhere.run("runs", "export").stdout)))), rows[-1]
    assert (row["loss"], row["lr"], row["gradient_norm"]) == ("0.1", "", "")
    assert last["evaluation_accuracy_percent"] == "96.0"
    exported = json.loads(elsewhere.run("runs", "export", "mine-s0", "--json").stdout)
    assert exported["runs"][0]["measurements"][0]["lr"] is None
    assert exported["runs"][0]["recipe"]["recorded"]["layers"] == 3


def test_the_gap_to_a_baseline_trained_elsewhere_is_that_of_the_accuracies(elsewhere):
    """Ours, at sixteen times the batch, against two seeds of theirs; the page draws both."""
    pytest.importorskip("sklearn")
    for seed in ("0", "1"):
        ended = elsewhere.run(
            *("train", str(DIGITS), "--to", "512", "--arm", "lb", "--seed", seed, "--name", f"ours-s{seed}", "--quiet"),
            *("--set", "schedule.updates=40", "--set", "schedule.milestones=[]"),
        )
        assert ended.returncode == 0, ended.stderr
    words = ("compare", "mine-s0", "mine-s1", "ours-s0", "ours-s1")
    comparison = json.loads(elsewhere.run(*words, "--json").stdout)
    ours = [run["final_accuracy_percent"] for run in comparison["runs"][2:]]
    assert comparison["gap"]["points"] == pytest.approx(((95 - ours[0]) + (96 - ours[1])) / 2)
    assert comparison["gap"]["naive_group"] == "ours"
    assert comparison["gap"]["seeds"] == 2
    changed = {change["field"]: change["values"] for change in comparison["changed"]}
    assert changed["recorded.layers"] == [3, 3, None, None]
    metrics = {metric["name"]: metric["values"] for metric in comparison["metrics"]}
    assert metrics["weight_distance"][:2] == [None, None]
    for by in ("update", "epoch", "second"):
        text = elsewhere.run(*words, "--by", by)
        assert text.returncode == 0, text.stderr
    page = elsewhere.run(*words, "--html", "page.html", "--png", "page.png", "--no-curve")
    assert page.returncode == 0, page.stderr
    html = (elsewhere.folder / "page.html").read_text()
    assert 'id="chart-loss"' in html
    assert 'id="chart-gradient_norm"' in html
    assert (elsewhere.folder / "page.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "words", [("train", "mine.toml"), ("ladder", "mine.toml", "--to", "512"),
              ("probe", "noise", "mine.toml"), ("verify-resume", "mine.toml")], ids=lambda words: " ".join(words)
)  # fmt: skip
def test_what_was_trained_elsewhere_is_not_trained_here(elsewhere, words):
    with lbadvisor.Store.open(elsewhere.database, create=False) as store:
        Path("mine.toml").write_text(dump_recipe(store.run("mine-s0").recipe))
    ended = elsewhere.run(*words)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "says what my loop trained, which cannot be trained here" in ended.stderr


def test_it_is_resumed_where_it_was_trained(elsewhere):
    """Whatever is known of it: settings without an optimizer too."""
    with lbadvisor.record("bare", {"batch_size": 32}, 0, elsewhere.database, program="my loop"):
        pass
    for name in ("mine-s0", "bare"):
        ended = elsewhere.run("resume", name)
        assert (ended.returncode, ended.stdout) == (3, "")
        assert ended.stderr == f"error: the run {name} was trained by my loop: resume it there\n"


def test_its_weights_are_not_here(elsewhere):
    ended = elsewhere.run("runs", "export-weights", "mine-s0", "--out", "w.safetensors")
    assert ended.returncode == 1
    assert "the run mine-s0 was trained by my loop: its weights are not stored here" in ended.stderr
