"""A user's SQL reads, and does nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lbadvisor.errors import StoreError, UsageError
from lbadvisor.recipe.file import load_recipe
from lbadvisor.records.run import Environment
from lbadvisor.store import Store
from lbadvisor.store.query import query
from lbadvisor.store.schema import REVISIONS

ASSETS = Path(__file__).parent / "assets"
RECIPE = load_recipe(Path(__file__).parents[2] / "recipes" / "digits.toml")
CPU = Environment("cpu", "a test's processor", "0.1.0", "3.11.7", "2.15.0", None, None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    shutil.copy(ASSETS / f"{REVISIONS[-1]}.db", tmp_path / "runs.db")
    return tmp_path / "runs.db"


def test_a_query_gives_columns_and_rows(store: Store) -> None:
    for name, seed in (("a", 7), ("100%", 2**63 - 1)):
        store.add_run(name, RECIPE, seed, 10, CPU)
    answer = query(store.address, "SELECT name, seed AS s, 1.5 AS part, NULL AS none FROM runs ORDER BY number")
    assert answer.columns == ("name", "s", "part", "none")
    assert answer.rows == (("a", 7, 1.5, None), ("100%", 2**63 - 1, 1.5, None))
    assert query(store.address, "SELECT number FROM runs WHERE name LIKE '100%'").rows == ((2,),)
    counted = "WITH RECURSIVE n(v) AS (SELECT 1 UNION SELECT v + 1 FROM n WHERE v < 3) SELECT * FROM n"
    assert query(store.address, counted).rows == ((1,), (2,), (3,))


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM runs",
        "UPDATE runs SET name = 'x'",
        "CREATE TABLE t (x int)",
        "CREATE TEMP TABLE t (x int)",
        "DROP VIEW curves",
        "SELECT 1; DELETE FROM runs",
        "selec 1",
        "SELECT * FROM nowhere",
        "",
        "-- nothing",
        "SELECT '\x00",
    ],
)
def test_what_is_no_reading_is_refused(store: Store, sql: str) -> None:
    store.add_run("a", RECIPE, 0, 10, CPU)
    with pytest.raises(UsageError, match="--sql: "):
        query(store.address, sql)
    assert store.run_names() == ["a"]
    assert query(store.address, "SELECT * FROM curves").rows == ()


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM runs",
        "ATTACH DATABASE 'other.db' AS other",
        "PRAGMA journal_mode=DELETE",
        "PRAGMA query_only=OFF",
        "VACUUM INTO 'copy.db'",
        "REINDEX",
        "SELECT load_extension('x')",
    ],
)
def test_a_query_of_a_file_changes_nothing_there_and_no_other_file(
    file: Path, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    before = file.read_bytes()
    with pytest.raises(UsageError, match="--sql: "):
        query(file, sql)
    assert file.read_bytes() == before
    assert {one.name for one in file.parent.iterdir()} <= {"runs.db", "runs.db-wal", "runs.db-shm"}


def test_a_missing_file_is_not_made_and_another_file_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no database"):
        query(tmp_path / "none.db", "SELECT 1")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text.db").write_text("no database" * 100)
    with pytest.raises(StoreError, match="not a SQLite database"):
        query(tmp_path / "text.db", "SELECT * FROM runs")


def test_a_query_may_look_into_json_and_ask_what_the_tables_hold(file: Path) -> None:
    assert query(file, 'SELECT value FROM json_each(\'["lr", "ghost"]\')').rows == (("lr",), ("ghost",))
    assert ("name",) in query(file, "SELECT name FROM pragma_table_info('runs')").rows
    assert query(file, "PRAGMA table_info(ladders)").rows[0][1] == "number"


def test_a_query_without_end_is_ended_by_a_signal(file: Path) -> None:
    """In a process of its own: the signal comes while SQLite counts."""
    program = (
        "import signal, sys\nfrom pathlib import Path\nfrom lbadvisor.store.query import query\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "try:\n    signal.setitimer(signal.ITIMER_REAL, 0.3)\n    query(Path(sys.argv[1]), sys.argv[2])\n"
        "except KeyboardInterrupt:\n    sys.exit(7)\n"
    )
    sql = "WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n) SELECT count(*) FROM n"
    done = subprocess.run([sys.executable, "-c", program, str(file), sql], timeout=300)
    assert done.returncode == 7
