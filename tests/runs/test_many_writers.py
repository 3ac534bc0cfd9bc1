"""Several trainings write into one database at once."""

import sqlite3
from contextlib import closing
from pathlib import Path

from lbadvisor.records.run import RunStatus
from lbadvisor.store import Store

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")


def test_four_processes_that_train_at_once_lose_and_double_no_measurement(tmp_path, forked, capfd):
    """Each makes 5 000 updates and measures every one; they start together, so they also make the file together."""
    database = tmp_path / "runs.db"
    words = ("train", DIGITS, "--set", "schedule.updates=5000", "--set", "measurements.every_updates=1", "--quiet")
    processes = [forked(*words, "--seed", str(seed), "--db", str(database)) for seed in range(4)]
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0, 0, 0], capfd.readouterr().err
    assert "locked" not in capfd.readouterr().err
    with Store.open(database, create=False) as store:
        assert sorted(run.name for run in store.runs()) == [f"digits-32-s{seed}" for seed in range(4)]
        for run in store.runs():
            assert (run.status, run.update) == (RunStatus.COMPLETE, 5000)
            assert [m.update for m in store.measurements(run.number)] == list(range(1, 5001))
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM measurements").fetchone() == (20_000,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
