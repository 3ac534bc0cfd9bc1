"""A study on a PostgreSQL server, beside the program's own tables."""

import json
import os
from pathlib import Path

import optuna
import pytest
from raw_sql import raw_sql

from lbadvisor.errors import InTrainingError
from lbadvisor.refine.refinement import Outcome
from lbadvisor.refine.search_space import Dimension, SearchSpace
from lbadvisor.refine.study import Busy, SharedStudy
from lbadvisor.store import Store, address_of

DIGITS = str(Path(__file__).parents[2] / "recipes" / "digits.toml")
TRIALS = 4
WORDS = (
    *("refine", DIGITS, "--to", "512", "--trials", str(TRIALS), "--metric", "loss", "--json"),
    *("--set", "checkpoints.every_seconds=0.1", "--set", "measurements.every_updates=5"),
)


def test_two_processes_share_a_study_whose_server_restarts(
    postgresql_server, postgresql_database, forked, monkeypatch, tmp_path
):
    """Every trial ends once, no run is trained twice, and Optuna's own tools read the study."""
    for name in [name for name in os.environ if name.startswith("LBADVISOR_") and name != "LBADVISOR_CHECKPOINTS"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    url = postgresql_database("made")
    address = address_of(url)
    processes = [forked(*WORDS, "--db", url, held_at=200) for _ in range(2)]
    for process in processes:
        process.wait_until_held()
    postgresql_server.stop()
    postgresql_server.start()
    for process in processes:
        process.go_on()
    ended = [process.communicate(timeout=200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    assert all("the database answers again" in err for _, err in ended)
    one, other = (json.loads(out)["trials"] for out, _ in ended)
    assert [(trial["number"], trial["point"], trial["value"]) for trial in one] == [
        (trial["number"], trial["point"], trial["value"]) for trial in other
    ]
    assert raw_sql(address, "SELECT state, count(*) FROM trials GROUP BY state") == [("COMPLETE", TRIALS)]
    assert raw_sql(address, "SELECT count(DISTINCT param_value) FROM trial_params") == [(TRIALS,)]
    assert raw_sql(address, "SELECT status, count(*) FROM runs GROUP BY status") == [("complete", TRIALS)]
    storage = optuna.storages.RDBStorage(url)
    (study,) = optuna.get_all_study_summaries(storage)
    assert study.n_trials == TRIALS
    storage.engine.dispose()


def test_a_trial_is_held_by_one_machine_and_free_when_its_connection_is_gone(
    postgresql_database, monkeypatch, tmp_path
):
    """Though the two share no folder."""
    space = SearchSpace((Dimension("exponent", 0.0, 1.0, 0.5),))
    url = postgresql_database("made")
    with Store.at(url) as store, SharedStudy.open(store, "s", space) as one:
        held = one.claim(1, lambda *_: (0.25,))
        monkeypatch.setenv("LBADVISOR_CHECKPOINTS", str(tmp_path / "elsewhere"))
        with Store.at(url) as elsewhere, SharedStudy.open(elsewhere, "s", space) as other:
            assert other.claim(1, lambda *_: (0.75,)) == Busy(1)
            raw_sql(address_of(url), "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'")
            taken = other.claim(1, lambda *_: (0.75,))
            assert (taken.number, taken.point, taken.taken_over) == (0, (0.25,), True)
            other.tell(taken, Outcome((1.0,)))
            # What the first one does with it meanwhile, or with what it has looked up before, changes nothing.
            with pytest.raises(InTrainingError, match="another process has ended the trial"):
                one.is_hopeless(held, 50, 3.0)
            one.fail(held)
            one.tell(held, Outcome((2.0,)))
            assert [trial.value for trial in one.trials()] == [1.0]
