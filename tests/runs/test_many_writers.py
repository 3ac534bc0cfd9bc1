"""Several trainings write into one database at once."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from raw_sql import raw_sql

from lbadvisor.records.run import RunStatus
from lbadvisor.store import Store, address_of

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
UPDATES = 600


def test_four_processes_that_train_at_once_lose_and_double_no_measurement(tmp_path, forked):
    """They make the file together. Each measures every update and saves for half of its time, what it measured first:
    so they write some hundred times, not once a second.
    """
    database = tmp_path / "runs.db"
    words = (
        "train",
        DIGITS,
        "--set",
        f"schedule.updates={UPDATES}",
        "--set",
        "measurements.every_updates=1",
        "--quiet",
    )
    words += ("--set", "checkpoints.every_seconds=1e-9", "--db", str(database))
    processes = [forked(*words, "--seed", str(seed), saving_share=0.5) for seed in range(4)]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], said
    assert "locked" not in "".join(said)
    with Store.open(database, create=False) as store:
        assert sorted(run.name for run in store.runs()) == [f"digits-32-s{seed}" for seed in range(4)]
        for run in store.runs():
            assert (run.status, run.update) == (RunStatus.COMPLETE, UPDATES)
            assert [m.update for m in store.measurements(run.number)] == list(range(1, UPDATES + 1))
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM measurements").fetchone() == (4 * UPDATES,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_six_processes_that_share_a_server_store_each_plan_and_recipe_once(postgresql_database, forked):
    """Four train runs of one plan, two a ladder: all write at once, from the making of the tables on."""
    database = postgresql_database("template1")
    words = ("--to", "256", "--db", database, "--quiet")
    words += ("--set", "measurements.every_updates=1", "--set", "checkpoints.every_seconds=0.02")
    processes = [forked("train", DIGITS, *words, "--seed", str(seed), saving_share=0.5) for seed in range(4)]
    ladder = ("ladder", DIGITS, "--arms", "sb,lb", "--seeds", "1", "--name", "shared")
    processes += [forked(*ladder, *words, saving_share=0.5) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, said
    with Store.open(database, create=False) as store:
        assert len(store.runs()) == 6
        for run in store.runs():
            assert (run.status, run.update, run.resumes) == (RunStatus.COMPLETE, run.updates, 0)
            assert [m.update for m in store.measurements(run.number)] == list(range(1, run.updates + 1))
        assert store.ladder_names() == ["shared"]
        # That of the four, and that of the ladder's second arm.
        assert sorted(Counter(run.plan_number for run in store.runs()).values()) == [1, 1, 4]
    assert raw_sql(address_of(database), "SELECT count(*) FROM plans") == [(2,)]
