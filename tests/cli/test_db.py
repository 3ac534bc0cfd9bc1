"""Claims about `lbadvisor db`."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lbadvisor.cli.app import app
from lbadvisor.errors import StoreError, UsageError
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.recipe import recipe_hash
from lbadvisor.records.run import Environment
from lbadvisor.store import Store
from lbadvisor.store.run_folder import checkpoint_folder
from lbadvisor.store.schema import REVISIONS
from lbadvisor.training.checkpoints.checkpoint_file import Header, write_checkpoint

DIGITS = Path(__file__).parents[2] / "recipes" / "digits.toml"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    with Store.open(path, create=True):
        pass
    return path


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, ["db", *words])


def test_path_prints_the_path_alone_and_makes_nothing(tmp_path: Path) -> None:
    path = tmp_path / ("a long folder name " * 9) / "[runs].db"
    result = invoke("path", "--db", str(path))
    assert result.exit_code == 0
    assert result.stdout == f"{path}\n"
    assert "does not exist yet" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_path_follows_the_environment(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LBADVISOR_DB", str(database))
    assert json.loads(invoke("path", "--json").stdout) == {
        "schema": 1,
        "path": str(database),
        "exists": True,
        "checkpoints": str(database.parent / "checkpoints" / "runs"),
    }


def test_upgrading_the_newest_schema_changes_nothing(database: Path) -> None:
    before = database.read_bytes()
    result = invoke("upgrade", "--json", "--db", str(database))
    assert json.loads(result.stdout) == {
        "schema": 1,
        "path": str(database),
        "before": REVISIONS[-1],
        "after": REVISIONS[-1],
        "dry_run": False,
    }
    assert "the newest" in invoke("upgrade", "--db", str(database)).stdout
    assert database.read_bytes() == before


@pytest.mark.parametrize("words", [["upgrade"], ["upgrade", "--dry-run"], ["check"]])
def test_a_missing_database_is_an_error_and_is_not_made(tmp_path: Path, words: list[str]) -> None:
    result = invoke(*words, "--db", str(tmp_path / "runs.db"))
    assert isinstance(result.exception, StoreError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["upgrade"], ["upgrade", "--dry-run"]])
def test_a_database_from_a_newer_program_is_refused(database: Path, words: list[str]) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE lbadvisor_version SET version_num = '9999'")
    result = invoke(*words, "--db", str(database))
    assert isinstance(result.exception, StoreError)
    assert "9999" in str(result.exception)


def test_check_names_a_damaged_checkpoint_of_a_run(database: Path) -> None:
    """Of two runs; the sound one is no fault, nor is a run that made no update and has no checkpoints."""
    with Store.open(database, create=False) as store:
        environment = Environment("cpu", "a test's processor", "0.1.0", "3.11.7", "2.15.0", None, None)
        runs = [store.add_run(name, load_recipe(DIGITS), 0, 10, environment) for name in ("a", "b", "c")]
    header = Header("digits", recipe_hash(load_recipe(DIGITS)), 0, 5, 1, "0.1.0", "2.15.0")
    files = []
    for run in runs[:2]:
        folder = checkpoint_folder(database, run)
        folder.mkdir(parents=True)
        files.append(write_checkpoint(folder, header, b"a payload"))
    assert invoke("check", "--db", str(database)).stdout == f"{database}: no faults\n"
    files[1].write_bytes(files[1].read_bytes()[:-1])
    found = json.loads(invoke("check", "--json", "--db", str(database)).stdout)["faults"]
    assert found == [f"the checkpoint {files[1]} is damaged: its content does not match its checksum"]
    result = invoke("check", "--db", str(database))
    assert isinstance(result.exception, StoreError)


def test_check_finds_no_fault_in_a_sound_database(database: Path) -> None:
    assert invoke("check", "--db", str(database)).stdout == f"{database}: no faults\n"
    assert json.loads(invoke("check", "--json", "--db", str(database)).stdout)["faults"] == []


def test_check_fails_with_each_fault_of_a_damaged_database(database: Path) -> None:
    """A measurement of a run that is not there."""
    with closing(sqlite3.connect(database)) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(measurements)")]
        values = ", ".join("1" for _ in columns)
        connection.execute(f"INSERT INTO measurements VALUES ({values})")
    result = invoke("check", "--db", str(database))
    assert isinstance(result.exception, StoreError)
    assert "missing row" in str(result.exception)
    assert result.stdout == ""
    as_json = invoke("check", "--json", "--db", str(database))
    assert as_json.exit_code == 1
    assert len(json.loads(as_json.stdout)["faults"]) == 1


def test_a_query_is_a_table_json_or_csv(database: Path) -> None:
    with Store.open(database, create=False) as store:
        environment = Environment("cpu", "[red]x", "0.1.0", "3.11.7", "2.15.0", None, None)
        store.add_run("a", load_recipe(DIGITS), 0, 10, environment)
    sql = "SELECT name, device_name, test_loss AS loss, 9e999 AS endless FROM runs"
    body = json.loads(invoke("query", "--sql", sql, "--json", "--db", str(database)).stdout)
    assert body == {
        "schema": 1,
        "columns": ["name", "device_name", "loss", "endless"],
        "rows": [{"name": "a", "device_name": "[red]x", "loss": None, "endless": None}],
    }
    csv = invoke("query", "--sql", sql, "--csv", "--db", str(database)).stdout
    assert csv == "name,device_name,loss,endless\na,[red]x,,inf\n"
    lines = [
        " ".join(line.split()) for line in invoke("query", "--sql", sql, "--db", str(database)).stdout.splitlines()
    ]
    assert "a [red]x - inf" in lines


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DELETE FROM runs", "may only read"),
        ("SELECT * FROM rnus", "no such table: rnus"),
        ("SELECT 1; SELECT 2", "one statement"),
    ],
)
def test_a_query_that_is_none_is_a_usage_error_of_one_line(database: Path, sql: str, said: str) -> None:
    result = invoke("query", "--sql", sql, "--db", str(database))
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)
    assert "\n" not in str(result.exception)
    assert result.stdout == ""


def test_json_refuses_two_columns_of_one_name(database: Path) -> None:
    result = invoke("query", "--sql", "SELECT 1 AS a, 2 AS a", "--json", "--db", str(database))
    assert isinstance(result.exception, UsageError)
    assert "AS" in str(result.exception)


def test_a_query_of_a_missing_database_makes_nothing(tmp_path: Path) -> None:
    result = invoke("query", "--sql", "SELECT 1", "--db", str(tmp_path / "runs.db"))
    assert isinstance(result.exception, StoreError)
    assert list(tmp_path.iterdir()) == []
