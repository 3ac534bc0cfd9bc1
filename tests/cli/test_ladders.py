"""`lbadvisor ladders`, and runs and ladders that are known by what they train, whatever they are called."""

import json
from pathlib import Path

from lbadvisor.store import Store
from lbadvisor.store.run_folder import checkpoint_folder

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
SHORT = ("--to", "256", "--schedule-scale", "0.1")
"""41 updates of 32; 5 of 256 where the epochs stay, 41 with the regime."""
LADDER = ("ladder", DIGITS, *SHORT, "--arms", "sb,lb", "--seeds", "1", "--quiet")


def names(place):
    with Store.open(place.database, create=False) as store:
        return store.run_names(), store.ladder_names()


def test_ladders_are_listed_and_shown(place):
    assert place.run("ladders").returncode == 1
    assert place.run(*LADDER).returncode == 0
    listed = place.run("ladders").stdout
    assert listed.split()[:8] == ["name", "baseline", "batch", "arms", "runs", "done", "begun,", "UTC"]
    assert "digits-256-ladder" in listed
    assert "32 -> 256" in listed
    (one,) = json.loads(place.run("ladders", "--json").stdout)["ladders"]
    assert (one["name"], one["arms"], one["runs"], one["done"]) == ("digits-256-ladder", {"sb": [1], "lb": [2]}, 2, 2)
    shown = place.run("ladders", "show", "digits-256-ladder").stdout
    assert "digits-256-ladder-lb-s0" in shown
    body = json.loads(place.run("ladders", "show", "digits-256-ladder", "--json").stdout)
    assert body["ladder"]["target_batch_size"] == 256
    assert [(run["arm"], run["update"]) for run in body["runs"]] == [("sb", 41), ("lb", 5)]
    missing = place.run("ladders", "show", "digits-255-ladder")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "no ladder is named 'digits-255-ladder'; ladders: digits-256-ladder" in missing.stderr


def test_a_renamed_ladder_is_found_by_the_command_that_made_it(place):
    assert place.run(*LADDER).returncode == 0
    assert place.run("ladders", "rename", "digits-256-ladder", "mine").stderr == "digits-256-ladder is now mine\n"
    again = place.run(*LADDER[:-1])
    assert "note this ladder is stored as `mine`" in again.stderr
    assert names(place)[1] == ["mine"]
    # Of other rules it is another one.
    assert place.run(*LADDER, "--arms", "lb,gbn", "--ghost", "3").returncode == 0
    assert names(place)[1] == ["mine", "digits-256-ghost3-ladder"]
    for taken in ("digits-256-ladder-sb-s0", "digits-256-ghost3-ladder", "7"):
        assert place.run("ladders", "rename", "mine", taken).returncode in (1, 2)
    assert names(place)[1] == ["mine", "digits-256-ghost3-ladder"]


def test_a_ladder_is_deleted_without_its_runs_or_with_those_that_are_its_own(place):
    assert place.run(*LADDER).returncode == 0
    assert place.run(*LADDER, "--name", "other", "--arms", "lb,gbn").returncode == 0
    would = place.run("ladders", "delete", "other", "--with-runs", "--dry-run")
    assert would.stdout == (
        "would delete the ladder other and its runs other-gbn-s0, with checkpoints; "
        "kept: digits-256-ladder-lb-s0; nothing was done\n"
    )
    asked = place.run("ladders", "delete", "other")
    assert (asked.returncode, "give --yes" in asked.stderr) == (3, True)
    assert names(place)[1] == ["digits-256-ladder", "other"]
    folder = checkpoint_folder(place.database, place.stored("other-gbn-s0")[0])
    assert folder.exists()
    assert place.run("ladders", "delete", "other", "--with-runs", "--yes").returncode == 0
    assert not folder.exists()
    said = place.run("ladders", "delete", "digits-256-ladder", "--yes").stderr
    assert said == "deleted the ladder digits-256-ladder; kept: digits-256-ladder-sb-s0, digits-256-ladder-lb-s0\n"
    assert names(place) == (["digits-256-ladder-sb-s0", "digits-256-ladder-lb-s0"], [])
    # What is left is reused by the same command, and nothing is trained.
    assert "2/2 lb s0: 5 updates" in place.run(*LADDER[:-1]).stderr
    assert len(names(place)[0]) == 2


def test_a_renamed_run_is_found_by_the_command_that_made_it(place):
    train = ("train", DIGITS, *SHORT)
    assert place.run(*train, "--quiet").returncode == 0
    assert place.run("runs", "rename", "digits-256-all-s0", "mine").returncode == 0
    again = place.run(*train)
    assert again.stdout.startswith("mine is already complete: 41 updates")
    assert "note this training is stored as `mine`\n" in again.stderr
    assert names(place)[0] == ["mine"]
    # A name that is given must be the run's: a second run of the same training is made by it, and found by it.
    assert place.run(*train, "--name", "second").stdout.startswith("second complete")
    assert place.run(*train, "--name", "second").stdout.startswith("second is already complete")
    both = place.run(*train)
    assert both.stdout.startswith("second is already complete")
    assert "note this training is stored as `second`, and as `mine`: choose with --name" in both.stderr
    # The name that is free again goes to another training without harm.
    assert place.run(*train, "--seed", "1", "--quiet").stdout.startswith("digits-256-all-s1 complete")


def test_what_differs_from_the_default_adaptation_is_in_the_name(place):
    """Ghosts of 3 and then of 2 do not collide, nor does a recipe written by such a plan."""
    for words, name in (
        (("--ghost", "3"), "digits-256-all-ghost3-s0"),
        (("--ghost", "2"), "digits-256-all-ghost2-s0"),
        (("--recompute-statistics",), "digits-256-all-recomputed-s0"),
    ):
        done = place.run("train", DIGITS, *SHORT, *words, "--quiet")
        assert (done.returncode, done.stdout.split()[0]) == (0, name)
    assert place.run("plan", DIGITS, *SHORT, "--ghost", "3", "--out", "written.toml").returncode == 0
    written = place.run("train", "written.toml", "--dry-run")
    assert written.stdout.startswith("digits-256-all-ghost3-s0 is already complete")
    assert written.stderr.count("note") == 0


def test_another_cadence_is_the_same_training_and_another_rate_is_not(place):
    train = ("train", DIGITS, *SHORT, "--name", "a")
    assert place.run(*train, "--quiet").returncode == 0
    other = ("--set", "checkpoints.every_seconds=60", "--set", "measurements.every_updates=9")
    assert place.run(*train, *other).stdout.startswith("a is already complete")
    changed = place.run(*train, *other, "--set", "optimizer.lr=0.06")
    assert changed.returncode == 3
    assert changed.stderr.splitlines()[-3:] == [
        "error: the run `a` belongs to another training:",
        "  optimizer.lr: 0.14142135623730953 there, 0.16970562748477142 here",
        "repeat its original options to resume it, or give --name for a new run",
    ]
