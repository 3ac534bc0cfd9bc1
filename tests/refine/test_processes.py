"""Refinements in whole processes: killed at any moment, and several at one study."""

import json
import os
import signal
import sqlite3
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
    return lambda *more, **how: forked(*WORDS, *more, **how)


def ended(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out)


def asked(path, query):
    """The rows of a query."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=120)) as connection:
        return connection.execute(query).fetchall()


def over(path):
    """How many trials have ended."""
    return asked(path, "SELECT count(*) FROM trials WHERE state = 'COMPLETE'")[0][0]


def facts(found):
    return [(trial["number"], trial["point"], trial["value"]) for trial in found["trials"]]


def check_states(path):
    states = asked(path, "SELECT state, count(*) FROM trials GROUP BY state")
    assert states == [("COMPLETE", TRIALS)]
    points = asked(path, "SELECT param_value FROM trial_params")
    assert len(set(points)) == len(points) == TRIALS
    assert asked(path, "SELECT status, count(*) FROM runs GROUP BY status") == [("complete", TRIALS)]


def test_a_study_killed_five_times_ends_as_one_that_was_not(start):
    """In the midst of a run, and in its first update: the same points, the same values to the bit."""
    straight = ended(start("--db", "straight/runs.db"))
    killed = Path("killed/runs.db")
    # Each resumes the trial in which the one before was killed, up to an update, and then trains up to one of the next.
    for update, further, ended_trials in (
        (100, (), 0),
        (101, (1,), 1),
        (200, (), 1),
        (260, (1,), 2),
        (150, (100, 1), 4),
    ):
        process = start("--db", str(killed), held_at=update)
        process.wait_until_held()
        for to in further:
            process.go_on(to=to)
        assert over(killed) == ended_trials
        process.kill()
        assert process.wait(300) == -signal.SIGKILL
    broken = ended(start("--db", str(killed)))
    assert facts(broken) == facts(straight)
    assert broken["estimate"] == straight["estimate"]
    assert broken["tests"] == straight["tests"]
    check_states(killed)
    assert asked(killed, "SELECT resumes FROM runs ORDER BY number") == [(1,), (2,), (1,), (0,), (1,)]


def test_two_processes_share_a_study_and_one_of_them_dies(start):
    shared = Path("shared/runs.db")
    first, second = (start("--db", str(shared), held_at=200) for _ in range(2))
    for process in (first, second):
        process.wait_until_held()
    second.go_on(to=100)  # of its second trial
    assert over(shared) == 1
    first.kill()
    second.go_on()
    third = start("--db", str(shared))
    results = [ended(second), ended(third)]
    assert facts(results[0]) == facts(results[1])
    check_states(shared)


def test_a_signal_saves_the_trial_and_exits_75(start):
    process = start("--db", "stopped/runs.db", held_at=100)
    process.wait_until_held()
    process.send_signal(signal.SIGTERM)
    process.go_on()
    out, _ = process.communicate(timeout=300)
    assert (process.returncode, out) == (75, "")
    assert asked("stopped/runs.db", 'SELECT status, "update" FROM runs') == [("stopped", 100)]
