"""`lbadvisor ladder` to several target batch sizes, as a user runs it: whole processes, a real set, real kills."""

import csv
import io
import json
import signal
import time
from pathlib import Path

import pytest

from lbadvisor.records.run import RunStatus
from lbadvisor.store import Store

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
SWEEP = ("ladder", DIGITS, "--to", "64,256,1024", "--arms", "sb,lb", "--seeds", "2")
SHORT = (*SWEEP, "--schedule-scale", "0.5")


def test_the_baseline_is_trained_once_and_each_target_is_a_ladder_of_its_own(place):
    code, out, err = place.run(*SHORT, "--html", "a.html", "--png", "a.png")
    assert code == 0, err
    # Seeds first: what is cut short has whole pairs.
    assert [run.name for run in place.runs()] == [
        f"digits-{ladder}-s{seed}"
        for seed in (0, 1)
        for ladder in ("64-ladder-sb", "64-ladder-lb", "256-ladder-lb", "1024-ladder-lb")
    ]
    with Store.open(place.database, create=False) as store:
        found = {ladder.target_batch_size: ladder for ladder in store.ladders()}
        assert [ladder.name for ladder in found.values()] == [f"digits-{to}-ladder" for to in (64, 256, 1024)]
        assert found[256].arms == (("sb", 1), ("lb", 3), ("sb", 5), ("lb", 7))
    assert "1/8 sb s0: 203 updates" in err
    assert "8/8 lb 1024 s1: 6 updates" in err
    assert "reused" not in err
    assert "digits: batch 32 against 64, 256, 1,024" in out
    assert "Validation error: %" in out
    assert "the naive large batch LB" in out
    assert (place.folder / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "Gap to SB" in (place.folder / "a.html").read_text()

    code, out, err = place.run(*SHORT, "--csv")
    assert code == 0, err
    assert "8 of 8 runs are already done" in err
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["arm"], row["batch_size"], row["runs"]) for row in rows] == [
        ("SB", "32", "2"), ("LB", "64", "2"), ("LB", "256", "2"), ("LB", "1024", "2"),
    ]  # fmt: skip
    errors = [float(row["error_percent"]) for row in rows]
    assert float(rows[3]["gap_points"]) == pytest.approx(errors[3] - errors[0])
    assert errors[3] > 20  # six updates

    body = json.loads(place.run(*SHORT, "--json").stdout)
    assert body["schema"] == 1
    assert [point["batch_size"] for point in body["sweep"]["points"]] == [32, 64, 256, 1024]
    assert [ladder["ladder"]["target_batch_size"] for ladder in body["ladders"]] == [64, 256, 1024]
    assert {run["name"] for run in body["ladders"][2]["runs"] if run["arm"] == "sb"} == {
        "digits-64-ladder-sb-s0", "digits-64-ladder-sb-s1",
    }  # fmt: skip
    markdown = place.run(*SHORT, "--md").stdout
    assert markdown.startswith("| arm | batch | error, % | gap, points |")

    # One of them is today's ladder, with nothing left to train.
    alone = place.run("ladder", DIGITS, "--to", "256", "--arms", "sb,lb", "--seeds", "2", "--schedule-scale", "0.5")
    assert alone.returncode == 0
    assert "4 of 4 runs are already done" in alone.stderr
    assert place.run("compare", "digits-64-ladder", "digits-1024-ladder").returncode == 0
    assert len(place.runs()) == 8


def test_a_sweep_that_is_killed_and_stopped_ends_as_one_that_was_not(place):
    words = (*SWEEP, "--set", "checkpoints.every_seconds=1e-9")
    code, expected, err = place.run(*words, "--db", "straight.db")
    assert code == 0, err
    place.kill_again_and_again(4, *words)
    process = place.start(*words)
    done = place.updates()
    while process.poll() is None and place.updates() <= done:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    if process.returncode:
        assert process.returncode == 75
        assert "of 8 runs are done; the same command resumes from there" in said
    code, out, err = place.run(*words)
    assert code == 0, err
    assert out == expected
    assert len(place.runs()) == 8
    assert {run.status for run in place.runs()} == {RunStatus.COMPLETE}


def test_two_processes_share_a_sweep(place):
    processes = [place.start(*SWEEP, "--quiet") for _ in range(2)]
    outs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outs[0] == outs[1]
    assert len(place.runs()) == 8


def test_each_targets_arm_by_distance_follows_the_one_baseline(place):
    words = ("ladder", DIGITS, "--to", "64,256", "--arms", "sb,distance", "--seeds", "1", "--schedule-scale", "0.5")
    code, _, err = place.run(*words)
    assert code == 0, err
    assert [run.name for run in place.runs()] == [
        "digits-64-ladder-sb-s0", "digits-64-ladder-distance-s0", "digits-256-ladder-distance-s0",
    ]  # fmt: skip
    assert {run.status for run in place.runs()} == {RunStatus.COMPLETE}
    assert place.runs()[2].recipe.schedule.is_by_distance
    assert "3 of 3 runs are already done" in place.run(*words).stderr


def test_a_dry_run_shows_the_cost_of_all_with_the_baselines_once(place):
    """By hand: 405 updates of 32 twice; 203 of 64, 51 of 256 and 13 of 1024 twice each."""
    code, out, _ = place.run(*SWEEP, "--dry-run")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if line.startswith("digits-")] == [
        f"digits-{to}-ladder:" for to in (64, 256, 1024)
    ]
    updates, examples = 2 * (405 + 203 + 51 + 13), 2 * (405 * 32 + 203 * 64 + 51 * 256 + 13 * 1024)
    (total,) = (line.split() for line in out.splitlines() if line.startswith("  all runs"))
    assert total == ["all", "runs", "8", f"{updates:,}", f"{examples:,}"]
    assert "would train 8 of 8 runs" in out
    body = json.loads(place.run(*SWEEP, "--dry-run", "--json").stdout)
    assert (body["sweep"], len(body["ladders"])) == (None, 3)
    assert list(place.folder.iterdir()) == []


def test_a_name_is_that_of_every_ladder_with_its_target(place):
    words = ("ladder", DIGITS, "--to", "256,64", "--arms", "sb,lb", "--seeds", "1", "--schedule-scale", "0.1")
    assert place.run(*words, "--name", "mine").returncode == 0
    with Store.open(place.database, create=False) as store:
        assert store.ladder_names() == ["mine-64", "mine-256"]
    code, _, err = place.run(*words, "--name", "mine")
    assert code == 0
    assert "3 of 3 runs are already done" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "64,abc"), "--to 64,abc: give batch sizes above 0 and below 2^63, such as 256 or 256,1024"),
        (("--to", "64,"), "--to 64,: give batch sizes"),
        (("--to", "0,64"), "--to 0,64: give batch sizes"),
        (("--to", "64.5"), "--to 64.5: give batch sizes"),
        (("--to", "9" * 30), "give batch sizes above 0 and below 2^63"),
        (("--to", "256,64,256"), "--to 256,64,256: the target batch size 256 is given twice"),
        (("--to", "64,32"), "the target batch size 32 is the baseline's own: a ladder needs a larger one"),
        (("--to", "16,64"), "the target batch size 16 is below the baseline's 32"),
        (("--to", "64,128", "--arms", "lb,ra"), "--arms lb,ra: several target batch sizes are compared with the base"),
    ],
)
def test_targets_that_make_no_sweep_are_refused(place, words, said):
    code, out, err = place.run("ladder", DIGITS, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert list(place.folder.iterdir()) == []
