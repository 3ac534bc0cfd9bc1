"""Optuna's tables and ours in one file, in either order."""

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from typer.testing import CliRunner

from lbadvisor.cli.app import app
from lbadvisor.refine.refinement import Outcome
from lbadvisor.refine.search_space import Dimension, SearchSpace
from lbadvisor.refine.study import POINT, Busy, SharedStudy
from lbadvisor.store import Store, schema

SPACE = SearchSpace((Dimension("exponent", 0.0, 1.0, 0.5),))


def invoke(*words):
    result = CliRunner().invoke(app, ["db", *words, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def ask(database):
    with SharedStudy.open(Store.at(database), "s", SPACE) as study:
        claim = study.claim(1, lambda *_: (0.25,))
        if claim is not None:
            study.tell(claim, Outcome((1.0,)))
        return study.trials()


@pytest.mark.parametrize("first", ["optuna", "ours", "study"])
def test_our_tables_and_optunas_live_in_one_file_whichever_came_first(tmp_path, first):
    database = tmp_path / "a folder?{x}%20" / "runs.db"
    database.parent.mkdir()
    if first == "optuna":
        plain = tmp_path / "plain.db"
        optuna.create_study(study_name="other", storage=f"sqlite:///{plain}")
        plain.rename(database)
    elif first == "ours":
        with Store.open(database, create=True):
            pass
    before = ask(database)
    assert invoke("check", "--db", str(database))["faults"] == []
    upgraded = invoke("upgrade", "--db", str(database))
    assert (upgraded["before"], upgraded["after"]) == (schema.REVISIONS[-1],) * 2
    assert ask(database) == before
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        versions = [
            connection.execute(f"SELECT * FROM {t}").fetchall() for t in ("alembic_version", "lbadvisor_version")
        ]
    assert all(len(rows) == 1 for rows in versions)
    plain = tmp_path / "again.db"
    database.rename(plain)
    assert optuna.load_study(study_name="s", storage=f"sqlite:///{plain}").best_value == 1.0


def test_an_upgrade_of_an_older_schema_leaves_a_study_alone(tmp_path):
    """Our tables go back to the first revision by hand, beside a study; the upgrade brings them forth again."""
    assets = sorted((Path(__file__).parents[1] / "store" / "assets").glob("0001.db"))
    if not assets:
        pytest.skip("no file of the first schema")
    database = tmp_path / "runs.db"
    database.write_bytes(assets[0].read_bytes())
    optuna.create_study(study_name="other", storage=f"sqlite:///{database}").add_trial(
        optuna.trial.create_trial(value=3.0)
    )
    assert invoke("upgrade", "--db", str(database))["before"] == "0001"
    assert optuna.load_study(study_name="other", storage=f"sqlite:///{database}").best_value == 3.0
    assert len(ask(database)) == 1


def test_a_trial_is_held_by_one_only_and_free_when_that_one_is_gone(tmp_path):
    with (
        SharedStudy.open(Store.at(tmp_path / "runs.db"), "s", SPACE) as one,
        SharedStudy.open(Store.at(tmp_path / "runs.db"), "s", SPACE) as other,
    ):
        held = one.claim(1, lambda *_: (0.25,))
        assert (held.point, held.taken_over) == ((0.25,), False)
        assert other.claim(1, lambda *_: (0.75,)) == Busy(1)
        held.lock.release()
        taken = other.claim(1, lambda *_: (0.75,))
        assert (taken.number, taken.point, taken.taken_over) == (0, (0.25,), True)
        other.tell(taken, Outcome((math.inf,), runs=("a",), epochs=2.0))
        assert one.claim(1, lambda *_: (0.75,)) is None
        [trial] = one.trials()
        assert (trial.value, trial.outcome.runs, trial.outcome.epochs) == (math.inf, ("a",), 2.0)


def test_a_trial_that_was_enqueued_and_not_begun_is_the_next(tmp_path):
    """As a kill between the two leaves it."""
    database = tmp_path / "runs.db"
    with SharedStudy.open(Store.at(database), "s", SPACE) as study:
        study._study.enqueue_trial({"exponent": 0.4}, user_attrs={POINT: [0.4]})
        claim = study.claim(1, lambda *_: (0.9,))
        assert claim.point == (0.4,)
        claim.lock.release()


def test_a_trial_left_before_its_numbers_were_noted_has_them_still(tmp_path):
    database = tmp_path / "runs.db"
    with SharedStudy.open(Store.at(database), "s", SPACE) as study:
        study._study.enqueue_trial({"exponent": 0.4}, user_attrs={POINT: [0.4]})
        study._study.ask()
        claim = study.claim(1, lambda *_: (0.9,))
        assert (claim.number, claim.point, claim.taken_over) == (0, (0.4,), True)
        claim.lock.release()


def test_past_trials_are_taken_in_once(tmp_path):
    found = [((0.5,), Outcome((1.0,), runs=("a",), taken_in=True)), ((0.3,), Outcome((math.inf,), taken_in=True))]
    with SharedStudy.open(Store.at(tmp_path / "runs.db"), "s", SPACE) as study:
        assert (study.take_in(found), study.take_in(found)) == (2, 0)
        assert [(t.point, t.value, t.outcome.taken_in) for t in study.trials()] == [
            ((0.5,), 1.0, True),
            ((0.3,), math.inf, True),
        ]


def test_a_trial_behind_the_median_at_the_same_share_is_hopeless_and_ends_as_pruned(tmp_path):
    with SharedStudy.open(Store.at(tmp_path / "runs.db"), "s", SPACE) as study:
        hopeless = []
        for number, value in enumerate((1.0, 2.0, 3.0, 2.5, 1.5)):
            claim = study.claim(5, lambda *_, n=number: (n / 10,))
            hopeless.append(study.is_hopeless(claim, 60, value))
            # Asked again, as after a kill, it says the same.
            assert study.is_hopeless(claim, 60, value) == hopeless[-1]
            study.tell(claim, Outcome((value,), pruned=hopeless[-1]))
        assert hopeless == [False, False, False, True, False]
        assert [trial.outcome.pruned for trial in study.trials()] == hopeless
        assert study.claim(5, lambda *_: (0.9,)) is None
