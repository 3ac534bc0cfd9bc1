"""A schedule by distance as a user asks for it: from a run of the baseline, by its numbers, and in a ladder."""

import json
import re
from pathlib import Path

import pytest

from lbadvisor.recipe.file import load_recipe

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
SHORT = (DIGITS, "--schedule-scale", "0.2")
"""81 updates, with milestones at 41 and 61."""
FOLLOWED = (*SHORT, "--to", "256", "--arm", "distance", "--distances-from", "small")


@pytest.fixture
def small(place):
    """A place with a run of the baseline; its distance at update 41."""
    assert place.run("train", *SHORT, "--name", "small").returncode == 0
    rows = {m.update: m.weight_distance for m in place.stored("small")[1]}
    return place, rows[41]


def test_the_distances_are_read_from_a_run_of_the_baseline(small):
    """It is evaluated at 41, so the distance there is that measurement's; to 61 the weights hardly moved."""
    place, distance = small
    told = f"{distance:.6g}"
    done = place.run("plan", *FOLLOWED, "--out", "adapted.toml")
    assert done.returncode == 0, done.stderr
    assert re.search(rf"schedule\.milestones\.distance +none, none +{re.escape(told)}, none ", done.stdout)
    assert "warning drops-without-distance: in small the weights hardly moved before the milestone at" in done.stdout
    assert f"distance = {told} # by weight distance: ||w_t - w_0|| of the baseline" in Path("adapted.toml").read_text()
    written = load_recipe(Path("adapted.toml"))
    assert (written.schedule.milestones[0].distance, written.adapted_from.distances_from) == (float(told), "small")

    done = place.run("train", *FOLLOWED)
    assert done.returncode == 0, done.stderr
    assert "batch 256, at most 81 updates, seed 0" in done.stderr
    run, _ = place.stored("digits-256-all-distance-s0")
    early = 81 - run.updates
    assert early > 0
    said = f"the weight distance brought a milestone of {run.name} forward by {early} updates, to {41 - early}:"
    assert said in done.stderr
    assert f"update {run.updates}/{run.updates} " in done.stderr
    assert done.stdout.startswith(f"{run.name} complete: {run.updates} updates")
    assert run.recipe == written
    again = place.run("train", "adapted.toml")
    assert again.stdout.startswith(f"{run.name} is already complete: {run.updates} updates")


def test_a_run_that_cannot_tell_the_distances_is_refused(small):
    place, _ = small
    other = (*SHORT, "--to", "256", "--distances-from")
    for words, code, said in (
        ((*other, "smal"), 2, "no run is named 'smal': did you mean 'small'?"),
        ((DIGITS, "--to", "256", "--distances-from", "small"), 3, "the run `small` is no run of the baseline:"),
        ((*other, "small", "--set", "schedule.milestones=[]"), 2, "the schedule of digits has no milestones"),
        ((*SHORT, "--to", "256", "--arm", "distance"), 2, "the arm distance needs the distances of a run of the"),
    ):
        done = place.run("train", *words)
        assert (done.returncode, done.stdout) == (code, "")
        assert said in done.stderr
    assert [run.name for run in place.runs()] == ["small"]


def test_distances_may_be_given_by_their_numbers(place):
    words = ("--set", "schedule.milestones[0].distance=3.5", "--set", "schedule.distance_every_updates=7")
    done = place.run("train", *SHORT, *words, "--name", "a")
    assert done.returncode == 0, done.stderr
    run, measured = place.stored("a")
    # The first check past 3.5; every 7 updates.
    assert (run.updates - 40) % 7 == 0
    assert run.updates < 81
    assert measured[-1].update == run.updates
    shown = json.loads(place.run("runs", "show", "a", "--json").stdout)["run"]
    assert (shown["updates"], shown["recipe"]["schedule"]["updates"]) == (run.updates, 81)
    done = place.run("verify-resume", *SHORT, *words, "--updates", "81", "--at", f"{run.updates - 5}", "--json")
    body = json.loads(done.stdout)
    assert (body["identical"], body["updates"]) == (True, run.updates)


def test_a_distance_that_makes_no_sense_is_told_at_its_place(place):
    recipe = Path(DIGITS).read_text().replace("lr_factor = 0.01 ", "distance = 3.5\nlr_factor = 0.01 ")
    Path("own.toml").write_text(recipe.replace("lr_factor = 0.1 ", "distance = 4.0\nlr_factor = 0.1 "))
    done = place.run("plan", "own.toml", "--to", "64")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: own.toml:34:12: schedule.milestones[1].distance: must be above the distance before it, 4, is 3.5\n"
        "  | distance = 3.5\n  |            ^\n"
    )


def test_a_ladder_says_before_what_its_arm_follows_and_after_how_many_updates_it_made(place):
    words = ("ladder", *SHORT, "--to", "256", "--arms", "sb,lb,ra,distance", "--seeds", "2")
    done = place.run(*words, "--dry-run")
    assert done.returncode == 0, done.stderr
    out = " ".join(done.stdout.split())
    assert "each as soon as the weight distance is that of the baseline's (of the SB run with seed 0)" in out
    assert "distance 2 ≤ 81 ≤ 15.99 ≤ 20,736 44%" in out
    assert "warning distance-and-batch-norm (distance):" in out
    done = place.run(*words)
    assert done.returncode == 0, done.stderr
    made = [place.stored(f"digits-256-ladder-distance-s{seed}")[0].updates for seed in (0, 1)]
    row = next(line for line in done.stdout.splitlines() if line.startswith("distance "))
    assert row.split()[:3] == ["distance", "2", f"{sum(made) / 2:,.0f}"]
    body = json.loads(place.run(*words, "--json").stdout)
    arm = body["arms"][-1]
    assert (arm["name"], arm["updates"], arm["by_distance"]) == ("distance", 81, True)
    assert "schedule.milestones.distance" in [change["field"] for change in arm["changes"]]
    assert [run["name"] for run in body["runs"]][-1] == "digits-256-ladder-distance-s1"
