"""What PostgreSQL does otherwise than a file, on a real server."""

import math
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from raw_sql import raw_sql

from lbadvisor.errors import InTrainingError, StoreError, UsageError
from lbadvisor.recipe.file import load_recipe
from lbadvisor.records.run import Environment, Measurement, RunStatus
from lbadvisor.store import Store, address_of, schema
from lbadvisor.store.address import DatabaseAddress
from lbadvisor.store.open_database import OpenDatabase
from lbadvisor.store.query import query
from lbadvisor.store.run_folder import checkpoints_of, only_process

CPU = Environment("cpu", "a test's processor", "0.1.0", "3.11.7", "2.15.0", None, None)
RECIPE = load_recipe(Path(__file__).parents[2] / "recipes" / "digits.toml")


@pytest.fixture
def made(postgresql_database: Callable[[str], str]) -> DatabaseAddress:
    """A database with the program's tables."""
    return address_of(postgresql_database("made"))


@pytest.fixture
def lab(made: DatabaseAddress) -> Iterator[Store]:
    """The same, open."""
    with Store.open(made, create=False) as opened:
        yield opened


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        (
            "postgresql://lab@host/runs",
            r"begins with postgresql\+psycopg://, not postgresql://: give a file, or postgresql\+psycopg://USER",
        ),
        ("postgres://lab@host/runs", "not postgres://"),
        ("postgresql+psycopg2://lab@host/runs", r"not postgresql\+psycopg2://"),
        ("mysql+pymysql://lab@host/runs", r"not mysql\+pymysql://"),
        ("sqlite:///db/runs.db", "for SQLite, name the file itself"),
        ("postgresql+psycopg://lab@host", "the URL names no database"),
        ("postgresql+psycopg://lab@host/", "the URL names no database"),
        ("postgresql+psycopg://lab@host:port/runs", r"postgresql\+psycopg://\.\.\. cannot be read"),
        ("://", "cannot be read"),
    ],
)
def test_a_url_that_is_none_of_postgresqls_says_what_to_give(url: str, advice: str) -> None:
    with pytest.raises(UsageError, match=advice):
        address_of(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://lab:s3cret@host/runs",
        "postgresql+psycopg://lab:@host/runs",
        "postgresql+psycopg://lab:s3cr@t@host/runs",
        "postgresql+psycopg://lab@host/runs?password=s3cret",
        "postgresql+psycopg://lab@host/runs?sslmode=require&sslpassword=s3cret",
        "mysql://lab:s3cret@host/runs",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match=r"has a password, .*: leave it out, and give it in ~/\.pgpass or") as raised:
        address_of(url)
    assert "s3cr" not in str(raised.value)


def test_an_address_is_sent_to_a_process_as_it_is() -> None:
    address = address_of("postgresql+psycopg://lab@host:5433/runs?sslmode=require")
    assert str(address) == f"{address!r}" == "postgresql+psycopg://lab@host:5433/runs?sslmode=require"
    assert pickle.loads(pickle.dumps(address)) == address


def test_the_environment_names_the_database_and_the_folder_of_its_checkpoints(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LBADVISOR_CHECKPOINTS", raising=False)
    monkeypatch.setenv("LBADVISOR_DB", "postgresql+psycopg://lab@host/runs")
    server, file = address_of(None), address_of("db/runs.db")
    assert checkpoints_of(server) == tmp_path / "db" / "checkpoints" / "runs"
    monkeypatch.setenv("LBADVISOR_CHECKPOINTS", "/shared")
    assert checkpoints_of(server) == Path("/shared/runs")
    assert checkpoints_of(file) == Path("db/checkpoints/runs")


def test_without_psycopg_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from lbadvisor.store import Store\n"
        "Store.open('postgresql+psycopg://lab@host/runs', create=False)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "UsageError" in done.stderr
    assert "pip install 'lbadvisor[postgresql]'" in done.stderr


def test_a_nan_is_stored_as_null_and_infinity_as_itself(lab: Store) -> None:
    lab.add_run("a", RECIPE, 0, 10, CPU)
    lab.record(1, [Measurement(1, 0.5, 640, math.nan, 0.1, math.inf, math.nan, -math.inf, None, None, 1.0)])
    found = raw_sql(lab.address, "SELECT loss, gradient_norm, clipped_share, weight_distance FROM measurements")
    assert found == [(None, math.inf, None, -math.inf)]


def test_the_number_of_a_deleted_run_is_not_given_again(lab: Store) -> None:
    for name in ("a", "b"):
        lab.add_run(name, RECIPE, 0, 10, CPU)
    lab.delete_run(2)
    assert lab.add_run("c", RECIPE, 0, 10, CPU).number == 3


def test_readers_see_one_moment_and_do_not_wait_for_a_writer(made: DatabaseAddress) -> None:
    one, other = (OpenDatabase.open(made, create=False, lock_timeout_seconds=5.0) for _ in range(2))
    count, name = "SELECT count(*) FROM recipes", "INSERT INTO recipes (hash, name, body) VALUES ('h', 'n', '{}')"
    with closing(one), closing(other), one.reading() as reader:
        assert reader.exec_driver_sql(count).scalar() == 0
        with other.writing() as writer:
            writer.exec_driver_sql(name)
            assert reader.exec_driver_sql(count).scalar() == 0
        assert reader.exec_driver_sql(count).scalar() == 0
        with one.reading() as later:
            assert later.exec_driver_sql(count).scalar() == 1
        with pytest.raises(StoreError, match="read-only"), one.reading() as only_reads:
            only_reads.exec_driver_sql(name)


def test_a_writer_waits_for_another_and_says_so_when_it_gives_up(made: DatabaseAddress) -> None:
    one, other = (OpenDatabase.open(made, create=False, lock_timeout_seconds=0.1) for _ in range(2))
    gives_up = pytest.raises(StoreError, match="it is locked by another process")
    with closing(one), closing(other), one.writing(), gives_up, other.writing():
        pass


def test_a_run_is_trained_by_one_process_wherever_others_keep_checkpoints(
    lab: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = lab.add_run("a", RECIPE, 0, 10, CPU)
    with lab.only_process(run), Store.open(lab.address, create=False) as elsewhere:
        monkeypatch.setenv("LBADVISOR_CHECKPOINTS", str(tmp_path / "elsewhere"))
        assert elsewhere.run("a").status is RunStatus.RUNNING
        with pytest.raises(InTrainingError, match="another process is training the run a"), elsewhere.only_process(run):
            pass
        assert not (tmp_path / "elsewhere").exists()
    with Store.open(lab.address, create=False) as elsewhere:
        assert elsewhere.run("a").status is RunStatus.INTERRUPTED
        with elsewhere.only_process(run):
            assert lab.run("a").status is RunStatus.RUNNING


LOCKS = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"


def test_a_lock_whose_connection_was_lost_is_acquired_again_before_the_next_change(
    lab: Store,
) -> None:
    run = lab.add_run("a", RECIPE, 0, 10, CPU)
    with lab.only_process(run):
        (first,) = raw_sql(lab.address, LOCKS)
        raw_sql(lab.address, f"SELECT pg_terminate_backend({first[0]}, 5000)")
        assert raw_sql(lab.address, LOCKS) == []
        lab.set_updates(run.number, 20)
        (second,) = raw_sql(lab.address, LOCKS)
        assert second != first
    assert raw_sql(lab.address, LOCKS) == []


def test_a_run_that_another_process_took_meanwhile_is_left_to_it(lab: Store) -> None:
    run = lab.add_run("a", RECIPE, 0, 10, CPU)
    with Store.open(lab.address, create=False) as other, lab.locked(run):
        ((first,),) = raw_sql(lab.address, LOCKS)
        raw_sql(lab.address, f"SELECT pg_terminate_backend({first}, 5000)")
        with other.locked(run):
            with pytest.raises(InTrainingError, match="was lost, and now another process is training the run a"):
                lab.set_updates(run.number, 20)
            other.set_updates(run.number, 30)
        assert lab.run("a").updates == 30


def test_a_process_that_is_killed_leaves_no_lock(lab: Store) -> None:
    run = lab.add_run("a", RECIPE, 0, 10, CPU)
    program = (
        "import sys, time\nfrom lbadvisor.store import Store\n"
        "store = Store.open(sys.argv[1], create=False)\nlock = store.locked(store.run('a'))\n"
        "lock.__enter__()\nprint('locked', flush=True)\ntime.sleep(600)"
    )
    words = [sys.executable, "-c", program, str(lab.address)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(InTrainingError), lab.locked(run):
            pass
        process.kill()
    with lab.locked(run):
        pass


def test_a_store_that_is_sent_to_a_process_connects_anew(made: DatabaseAddress) -> None:
    for opened in (Store.open(made, create=False), Store.at(made)):
        with opened, pickle.loads(pickle.dumps(opened)) as sent:
            sent.add_run(f"run{len(opened.runs())}", RECIPE, 0, 10, CPU)
            assert opened.run_names() == sent.run_names()


def test_a_database_that_is_not_made_yet_reads_as_empty_and_is_made_by_the_first_change(
    postgresql_database: Callable[[str], str],
) -> None:
    address = address_of(postgresql_database("template1"))
    with Store.at(address) as store:
        assert store.runs() == []
        assert not schema.exists(address)
        store.add_run("a", RECIPE, 2**63 - 1, 10, CPU)
        assert schema.exists(address)
        assert store.run("a").seed == 2**63 - 1


@pytest.mark.parametrize(
    "sql",
    [
        "WITH gone AS (DELETE FROM runs RETURNING 1) SELECT * FROM gone",
        "SELECT * INTO t FROM runs",
        "COPY runs TO '/tmp/runs'",
        "SET TRANSACTION READ WRITE",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SELECT nextval('runs_number_seq')",
    ],
)
def test_what_is_no_reading_on_a_server_is_refused_and_changes_nothing(lab: Store, sql: str) -> None:
    lab.add_run("a", RECIPE, 0, 10, CPU)
    with pytest.raises(UsageError, match="--sql: "):
        query(lab.address, sql)
    assert lab.run_names() == ["a"]


def test_a_query_gives_the_values_that_a_file_would_give(lab: Store) -> None:
    run = lab.add_run("a", RECIPE, 7, 10, CPU)
    asked = "true AS yes, sum(seed) AS whole, avg(seed / 2.0) AS part, created_at, '[1, 2]'::json AS list"
    answer = query(lab.address, f"SELECT {asked} FROM runs GROUP BY number")
    assert answer.columns == ("yes", "whole", "part", "created_at", "list")
    assert answer.rows == ((1, 7, 3.5, f"{run.created_at:%Y-%m-%d %H:%M:%S.%f}", "[1, 2]"),)


def test_a_query_without_end_is_ended_by_a_signal(made: DatabaseAddress) -> None:
    program = (
        "import signal, sys\nfrom lbadvisor.store import address_of\nfrom lbadvisor.store.query import query\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "try:\n    signal.setitimer(signal.ITIMER_REAL, 0.5)\n"
        "    query(address_of(sys.argv[1]), 'SELECT pg_sleep(100)')\n"
        "except KeyboardInterrupt:\n    sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(made)], timeout=90)
    assert done.returncode == 7
    asleep = "SELECT query FROM pg_stat_activity WHERE query LIKE '%pg_sleep(100)%' AND pid <> pg_backend_pid()"
    for _ in range(1000):
        # The server hears of it a little later.
        if not raw_sql(made, asleep):
            return
        time.sleep(0.05)
    pytest.fail("the server counts on")


def test_a_folder_of_checkpoints_is_locked_on_one_machine_even_if_the_server_forgot(lab: Store) -> None:
    run = lab.add_run("a", RECIPE, 0, 10, CPU)
    with only_process(lab.checkpoint_folder(run), run.name):
        assert lab.run("a").status is RunStatus.RUNNING
        with pytest.raises(InTrainingError), lab.only_process(run):
            pass
