"""`lbadvisor refine` and `lbadvisor calibrate` as a user runs them, on the digits."""

import json
from pathlib import Path

import pytest

from lbadvisor.recipe.file import load_recipe
from lbadvisor.records.run import RunStatus
from lbadvisor.store import Store

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
SHORT = ("--schedule-scale", "0.1", "--to", "256")


@pytest.fixture
def run(place):
    return place.run


def stored():
    with Store.open(Path("db/lbadvisor.db"), create=False) as store:
        return store.runs()


def test_a_refinement_judges_on_held_out_examples_and_tests_once(run):
    code, out, err = run("refine", DIGITS, *SHORT, "--trials", "4", "--out", "refined.toml")
    assert code == 0, err
    assert "held out for validation: 130 of 1297 training examples" in err
    assert "judged on 130 held-out examples" in out
    assert "The best scaling exponent is" in out
    assert "exponent a of lr * r^a" in out
    runs = stored()
    assert [r.status for r in runs] == [RunStatus.COMPLETE] * 4
    assert {r.recipe.data.validation_examples for r in runs} == {130}
    tested = [r for r in runs if r.test_accuracy_percent is not None]
    assert 1 <= len(tested) <= 2
    assert any(r.recipe.adapted_from.lr_rule == "sqrt" for r in tested)
    refined = load_recipe(Path("refined.toml"))
    assert (refined.data.train_examples, refined.data.validation_examples) == (1297, None)
    assert refined.adapted_from.batch_size == 32
    assert "refined: study refine-digits-256-" in Path("refined.toml").read_text()

    code, again, err = run("refine", DIGITS, *SHORT, "--trials", "4", "--json", "--quiet")
    assert (code, err) == (0, "")
    found = json.loads(again)
    assert len(stored()) == 4
    assert found["schema"] == 1
    assert [trial["point"][0] for trial in found["trials"][:3]] == [0.5, 1.0, 0.0]
    assert {"holds_square_root", "holds_linear", "gain", "gain_low", "low", "high"} <= found["estimate"].keys()
    more = json.loads(run("refine", DIGITS, *SHORT, "--trials", "5", "--json", "--quiet")[1])
    assert more["trials"][:4] == found["trials"]
    assert len(more["trials"]) == 5


def test_runs_of_the_same_training_are_taken_in_and_others_are_not(run):
    held_out = ("--set", "data.train_examples=1167", "--set", "data.validation_examples=130")
    past = (held_out, ("--lr-rule", "exponent=0.3", *held_out), (), ("--seed", "7", *held_out))
    for name, words in zip("abcd", past, strict=True):
        assert run("train", DIGITS, *SHORT, *words, "--adapt", "all", "--name", name, "--quiet")[0] == 0
    code, out, err = run("refine", DIGITS, *SHORT, *held_out, "--trials", "4", "--json")
    assert code == 0, err
    assert "reused: 2 trials" in err
    trials = json.loads(out)["trials"]
    assert [(t["point"][0], t["outcome"]["taken_in"]) for t in trials] == [
        (0.5, True), (0.3, True), (1.0, False), (0.0, False)
    ]  # fmt: skip
    assert trials[0]["outcome"]["epochs"] == 0
    assert len(stored()) == 4 + 2


def test_trials_that_diverge_are_no_errors(run):
    words = ("refine", DIGITS, *SHORT, "--set", "optimizer.lr=1e30", "--adapt", "lr", "--trials", "4")
    code, out, err = run(*words)
    assert code == 0, err
    assert err.count(": diverged") == 4
    assert [r.status for r in stored()] == [RunStatus.DIVERGED] * 4
    assert "Too few trials ended" in out
    again = json.loads(run(*words, "--json")[1])
    assert [t["value"] for t in again["trials"]] == [None] * 4


def test_several_seeds_are_paired_and_a_budget_ends_the_search(run):
    """40 updates of 256 of 1167 examples are 8.77 epochs, two seeds 17.5: a budget of 40 holds two trials."""
    code, out, err = run("refine", DIGITS, *SHORT, "--seeds", "2", "--epochs-budget", "40", "--json")
    assert code == 0, err
    assert "the epochs budget is spent (35.98): 2 of 12 trials" in err
    found = json.loads(out)
    assert [len(t["outcome"]["values"]) for t in found["trials"]] == [2, 2]
    assert found["estimate"] is None
    assert "Too few trials" in found["conclusion"]


def test_a_dry_run_writes_nothing(run, place):
    code, out, _ = run("refine", DIGITS, *SHORT, "--dry-run")
    assert (code, "would refine into study refine-digits-256-" in out) == (0, True)
    assert run("calibrate", DIGITS, "--to", "256", "--dry-run")[0] == 0
    assert list(place.folder.iterdir()) == []


WRONG = {
    "no target": (["refine", DIGITS], 2, "--to B"),
    "an unknown dimension": (["refine", DIGITS, *SHORT, "--also", "width"], 2, "stretch, ghost, clip"),
    "a range without one half": (["refine", DIGITS, *SHORT, "--range", "0.6", "1"], 2, "that contains 0.5"),
    "a budget below a trial": (["refine", DIGITS, *SHORT, "--epochs-budget", "1"], 2, "too small for one trial"),
    "pruning without a drop": (
        ["refine", DIGITS, *SHORT, "--prune", "--set", "schedule.milestones=[]"], 2, "the schedule has none"
    ),
    "an unknown metric": (["refine", DIGITS, *SHORT, "--metric", "f1"], 2, "f1"),
    "refining the baseline's own batch": (["refine", DIGITS, "--to", "32"], 2, "batch size 32 is the baseline's"),
    "calibrating with TF32 on a CPU": (
        ["calibrate", DIGITS, "--to", "256", "--device", "cpu", "--set", "compute.tf32=true"], 2, "tf32"
    ),
    "calibrating without a target": (["calibrate", DIGITS], 2, "--to B"),
    "one exponent": (["calibrate", DIGITS, "--to", "256", "--exponents", "0.5"], 2, "at least two"),
    "words as exponents": (["calibrate", DIGITS, "--to", "256", "--exponents", "a,b"], 2, "give numbers"),
    "too many updates": (["calibrate", DIGITS, "--to", "256", "--updates", "9999"], 2, "have only 405 updates"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "code", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_command_line_gets_its_error_and_touches_nothing(run, place, words, code, said):
    got, out, err = run(*words)
    assert (got, out) == (code, ""), err
    assert said in err
    assert "Traceback" not in err
    assert list(place.folder.iterdir()) == []


def test_a_calibration_prints_its_windows_and_its_price(run, place):
    code, out, err = run("calibrate", DIGITS, "--to", "256", "--updates", "10", "--seeds", "2")
    assert code == 0, err
    assert "10 updates at exponents -0.1, 0.25, 0.6, 2 seeds" in err
    assert "Over the first 10 updates, the target's weights move as far as the baseline's at exponent" in out
    found = json.loads(run("calibrate", DIGITS, "--to", "256", "--updates", "10", "--json", "--quiet")[1])
    assert (found["schema"], [w["updates"] for w in found["windows"]]) == (1, [5, 10])
    assert list(place.folder.iterdir()) == []


def test_a_refinement_begins_with_what_was_calibrated(run):
    words = ("refine", DIGITS, *SHORT, "--trials", "1", "--calibrate")
    code, out, err = run(*words, "--json")
    assert code == 0, err
    assert "calibrated: exponent 0." in err
    assert json.loads(out)["trials"][0]["point"][0] < 0.5
    assert "calibration is skipped" in run(*words)[2]
