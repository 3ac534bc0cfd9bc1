"""One ladder, several processes: each trains what no other does, and any may die."""

import os
import signal
from dataclasses import replace
from pathlib import Path

from lbadvisor.store import Store

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
WORDS = (
    *("ladder", DIGITS, "--to", "256", "--arms", "sb,ra", "--seeds", "2", "--quiet"),
    *("--set", "measurements.every_updates=20", "--set", "checkpoints.every_seconds=0.1"),
)
"""Four runs of 405 updates."""


def runs(database):
    with Store.open(Path(database), create=False) as store:
        return store.runs()


def results(database):
    """Every measurement but for its time, by the name of its run."""
    with Store.open(Path(database), create=False) as store:
        found = store.runs()
        rows = store.measurements_of([run.number for run in found])
    return {run.name: [replace(m, seconds=0.0) for m in own] for run, own in zip(found, rows, strict=True)}


def test_two_processes_share_a_ladder_and_one_of_them_is_killed(forked, tmp_path, monkeypatch):
    """It ends as one that a single process trained, and no run was trained twice."""
    for name in [name for name in os.environ if name.startswith("LBADVISOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LBADVISOR_DATA", str(tmp_path))
    shared, straight = str(tmp_path / "shared.db"), str(tmp_path / "straight.db")
    processes = [forked(*WORDS, "--db", shared, held_at=100) for _ in range(2)]
    for process in processes:
        process.wait_until_held()
    # Both are at a run of their own.
    assert [(run.status, run.update < run.updates) for run in runs(shared)] == [("running", True)] * 2
    processes[0].kill()
    processes[1].go_on()
    processes += [forked(*WORDS, "--db", shared), forked(*WORDS, "--db", straight)]
    assert [process.wait(200) for process in processes] == [-signal.SIGKILL, 0, 0, 0]
    assert results(shared) == results(straight)
    assert {run.status.value for run in runs(shared)} == {"complete"}
    # The killed process's run was resumed once.
    assert sum(run.resumes for run in runs(shared)) == 1
