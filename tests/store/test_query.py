"""A user's SQL reads, and does nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lbadvisor.errors import StoreError, UsageError
from lbadvisor.store.query import query
from lbadvisor.store.schema import REVISIONS

ASSETS = Path(__file__).parent / "assets"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    shutil.copy(ASSETS / f"{REVISIONS[-1]}.db", tmp_path / "runs.db")
    return tmp_path / "runs.db"


def test_a_query_gives_columns_and_rows(path: Path) -> None:
    answer = query(path, "SELECT name, seed AS s FROM runs ORDER BY number")
    assert answer.columns == ("name", "s")
    assert answer.rows == (("digits-b64-s0", 0), ("digits-b512-s0", 0))
    assert query(path, "WITH RECURSIVE n(v) AS (SELECT 1 UNION SELECT v + 1 FROM n WHERE v < 3) SELECT * FROM n").rows


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM runs",
        "UPDATE runs SET name = 'x'",
        "CREATE TABLE t (x)",
        "CREATE TEMP TABLE t (x)",
        "DROP VIEW curves",
        "ATTACH DATABASE 'other.db' AS other",
        "PRAGMA journal_mode=DELETE",
        "PRAGMA query_only=OFF",
        "VACUUM INTO 'copy.db'",
        "REINDEX",
        "SELECT load_extension('x')",
        "SELECT 1; DELETE FROM runs",
        "selec 1",
        "SELECT * FROM nowhere",
        "",
        "-- nothing",
        "SELECT '\x00",
    ],
)
def test_what_is_no_reading_is_refused_and_changes_nothing(
    path: Path, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="--sql: "):
        query(path, sql)
    assert path.read_bytes() == before
    assert {file.name for file in path.parent.iterdir()} <= {"runs.db", "runs.db-wal", "runs.db-shm"}


def test_a_missing_file_is_not_made_and_another_file_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no database"):
        query(tmp_path / "none.db", "SELECT 1")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text.db").write_text("no database" * 100)
    with pytest.raises(StoreError, match="not a SQLite database"):
        query(tmp_path / "text.db", "SELECT * FROM runs")


def test_a_query_may_look_into_json_and_ask_what_the_tables_hold(path: Path) -> None:
    assert query(path, 'SELECT value FROM json_each(\'["lr", "ghost"]\')').rows == (("lr",), ("ghost",))
    assert ("name",) in query(path, "SELECT name FROM pragma_table_info('runs')").rows
    assert query(path, "PRAGMA table_info(ladders)").rows[0][1] == "number"


def test_a_query_without_end_is_ended_by_a_signal(path: Path) -> None:
    """In a process of its own: the signal comes while SQLite counts."""
    program = (
        "import signal, sys\nfrom pathlib import Path\nfrom lbadvisor.store.query import query\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.3)\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "try:\n    query(Path(sys.argv[1]), sys.argv[2])\n"
        "except KeyboardInterrupt:\n    sys.exit(7)\n"
    )
    sql = "WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n) SELECT count(*) FROM n"
    done = subprocess.run([sys.executable, "-c", program, str(path), sql], timeout=60)
    assert done.returncode == 7
