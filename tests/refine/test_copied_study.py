"""A study whose database is copied to one of the other kind: all its trials, which go on there."""

from contextlib import contextmanager

import optuna
import pytest
from optuna.trial import TrialState
from raw_sql import raw_sql

from lbadvisor.errors import RefusedError
from lbadvisor.refine.refinement import Outcome
from lbadvisor.refine.search_space import Dimension, SearchSpace
from lbadvisor.refine.study import TABLES_OF_STUDIES, SharedStudy
from lbadvisor.store import Store, address_of
from lbadvisor.store.copied_rows import copy_rows, count_rows, refuse_rows
from lbadvisor.store.dialect import dialect_of

SPACE = SearchSpace((Dimension("exponent", 0.0, 1.0, 0.5),))


@pytest.fixture(params=["to a server", "to a file"])
def pair(request, tmp_path, postgresql_database):
    addresses = [tmp_path / "one.db", address_of(postgresql_database("template1"))]
    return addresses if request.param == "to a server" else addresses[::-1]


@contextmanager
def study_in(address):
    with Store.at(address) as store, SharedStudy.open(store, "s", SPACE) as study:
        yield study


def copy(pair):
    with (
        Store.open(pair[0], create=False) as one,
        Store.at(pair[1]) as other,
        one.database.reading() as reader,
        other.database.writing() as writer,
    ):
        refuse_rows(writer, pair[1])
        counts = count_rows(reader, pair[0], TABLES_OF_STUDIES)
        assert max(copy_rows(reader, writer, pair[0], counts)) == sum(counts.values())
        return {table.name: count for table, count in counts.items()}


def trials_of(address):
    """As Optuna's own tools read them."""
    url, keywords = dialect_of(address).for_optuna(address)
    storage = optuna.storages.RDBStorage(url, engine_kwargs=keywords)
    trials = optuna.load_study(study_name="s", storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    return trials


def claim(study, value):
    return study.claim(9, lambda *_: (value,))


def fill(study):
    """Three trials that ended, one that was pruned, one whose values are infinite, and one that is still running."""
    for value in (0.5, 1.0, 0.0):
        told = claim(study, value)
        study.is_hopeless(told, 50, value)
        study.tell(told, Outcome((value,), runs=(1, 2), seconds=0.1))
    pruned = claim(study, 0.9)
    assert study.is_hopeless(pruned, 50, 7.0)
    study.tell(pruned, Outcome((7.0,), pruned=True))
    study.tell(claim(study, 0.8), Outcome((float("inf"),)))
    claim(study, 0.7).lock.release()


def test_every_trial_is_copied_and_the_study_goes_on(pair):
    with study_in(pair[0]) as study:
        fill(study)
        ended = study.trials()
    counts = copy(pair)
    assert (counts["studies"], counts["trials"]) == (1, 6)
    source, target = (trials_of(address) for address in pair)
    assert source == target
    states = [trial.state for trial in target]
    assert (states.count(TrialState.PRUNED), states.count(TrialState.RUNNING)) == (1, 1)
    with study_in(pair[1]) as study:
        assert study.trials() == ended
        left, new = claim(study, 0.1), claim(study, 0.6)
        assert (left.number, left.point, left.taken_over) == (5, (0.7,), True)
        assert (new.number, new.point, new.taken_over) == (6, (0.6,), False)
        assert study.is_hopeless(new, 50, 7.0)
        study.tell(new, Outcome((0.25,)))
        left.lock.release()
        assert [trial.value for trial in study.trials()][-1] == 0.25


def test_a_study_alone_fills_a_database(pair):
    with study_in(pair[1]) as study:
        study.tell(claim(study, 0.5), Outcome((1.0,)))
    with Store.at(pair[0]) as store:
        store.make()
    with pytest.raises(RefusedError, match="it has studies already"):
        copy(pair)


def test_tables_of_optuna_without_a_study_are_no_hindrance(pair):
    with study_in(pair[0]) as study:
        fill(study)
    with study_in(pair[1]):
        pass
    url, keywords = dialect_of(pair[1]).for_optuna(pair[1])
    storage = optuna.storages.RDBStorage(url, engine_kwargs=keywords)
    optuna.delete_study(study_name="s", storage=storage)
    storage.remove_session()
    storage.engine.dispose()
    assert copy(pair)["trials"] == 6
    assert trials_of(pair[0]) == trials_of(pair[1])


def test_another_programs_versions_are_not_mixed_with_optunas(pair):
    """As MLflow's on a server: Alembic's table has one row."""
    with study_in(pair[0]) as study:
        fill(study)
    with Store.at(pair[1]) as store:
        store.make()
    raw_sql(pair[1], "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    raw_sql(pair[1], "INSERT INTO alembic_version VALUES ('c0ffee')")
    with pytest.raises(
        RefusedError, match="alembic_version has rows of another program: copy to a database of its own"
    ):
        copy(pair)
    assert raw_sql(pair[1], "SELECT * FROM alembic_version") == [("c0ffee",)]
    assert raw_sql(pair[1], "SELECT count(*) FROM recipes") == [(0,)]
