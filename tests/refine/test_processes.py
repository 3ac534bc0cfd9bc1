"""Refinements in whole processes: killed at any moment, and several at one study."""

import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
TRIALS = 5
WORDS = (
    *("refine", DIGITS, "--to", "512", "--trials", str(TRIALS), "--metric", "loss", "--json", "--quiet"),
    *("--set", "checkpoints.every_seconds=0.1", "--set", "measurements.every_updates=5"),
)


@pytest.fixture
def start(tmp_path, monkeypatch, forked):
    """Starts a refinement in a folder of this test."""
    monkeypatch.setenv("COLUMNS", "120")
    for name in [name for name in os.environ if name.startswith("LBADVISOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return lambda *more: forked(*WORDS, *more)


def ended(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out)


def asked(path, query):
    """The rows of a query; none while the file or the table is not there."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def wait_for(path, made=0, over=0):
    """Until all runs together have made so many updates, and so many trials have ended."""
    for _ in range(6000):
        updates = asked(path, 'SELECT coalesce(sum("update"), 0) FROM runs')
        trials = asked(path, "SELECT count(*) FROM trials WHERE state = 'COMPLETE'")
        if updates and trials and updates[0][0] >= made and trials[0][0] >= over:
            return
        time.sleep(0.01)
    pytest.fail("the study never came so far")


def facts(found):
    return [(trial["number"], trial["point"], trial["value"]) for trial in found["trials"]]


def check_states(path):
    states = asked(path, "SELECT state, count(*) FROM trials GROUP BY state")
    assert states == [("COMPLETE", TRIALS)]
    points = asked(path, "SELECT param_value FROM trial_params")
    assert len(set(points)) == len(points) == TRIALS
    assert asked(path, "SELECT status, count(*) FROM runs GROUP BY status") == [("complete", TRIALS)]


def test_a_study_killed_five_times_ends_as_one_that_was_not(start):
    """In the midst of a run, between two trials, at the very beginning: the same points, the same values to the bit."""
    straight = ended(start("--db", "straight/runs.db"))
    killed = Path("killed/runs.db")
    moments = ({"made": 100}, {"over": 1}, {"made": 2 * 405 + 200}, {"made": 2 * 405 + 260}, {"made": 4 * 405 + 1})
    for moment in moments:
        process = start("--db", str(killed))
        wait_for(killed, **moment)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    broken = ended(start("--db", str(killed)))
    assert facts(broken) == facts(straight)
    assert broken["estimate"] == straight["estimate"]
    assert broken["tests"] == straight["tests"]
    check_states(killed)
    assert asked(killed, "SELECT count(*) FROM runs WHERE resumes > 0")[0][0] >= 2


def test_two_processes_share_a_study_and_one_of_them_dies(start):
    shared = Path("shared/runs.db")
    first, second = start("--db", str(shared)), start("--db", str(shared))
    wait_for(shared, made=500, over=1)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    third = start("--db", str(shared))
    results = [ended(second), ended(third)]
    assert facts(results[0]) == facts(results[1])
    check_states(shared)


def test_a_signal_saves_the_trial_and_exits_75(start):
    process = start("--db", "stopped/runs.db")
    wait_for("stopped/runs.db", made=100)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (75, "")
    [(status, updates)] = asked("stopped/runs.db", 'SELECT status, "update" FROM runs')
    assert status == "stopped"
    assert 0 < updates < 405
