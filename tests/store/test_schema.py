"""The schema is made by migrations only, is what the program takes it for, and old files reach it unharmed."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from lbadvisor.errors import StoreError
from lbadvisor.store import Store, backup_path, check, revision, schema, schema_sql, upgrade
from lbadvisor.store.tables import metadata
from lbadvisor.store.views import VIEWS

ROOT = Path(__file__).parents[2]
ASSETS = Path(__file__).parent / "assets"
NEWEST = schema.REVISIONS[-1]
NEXT = f"{int(NEWEST) + 1:04}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    shutil.copy(ASSETS / f"{NEWEST}.db", tmp_path / "runs.db")
    return tmp_path / "runs.db"


@pytest.fixture
def next_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program as it will be one schema later: a true further revision, which remakes `runs`; its file."""
    migrations = tmp_path / "migrations"
    shutil.copytree(Path(schema.__file__).parent / "migrations", migrations)
    step = migrations / "versions" / f"{NEXT}_note.py"
    step.write_text(
        "import sqlalchemy as sa\n"
        "from alembic import op\n"
        f"revision, down_revision = '{NEXT}', '{NEWEST}'\n"
        "def upgrade():\n"
        "    with op.batch_alter_table('runs', recreate='always') as runs:\n"
        "        runs.add_column(sa.Column('note', sa.Text))\n"
    )
    monkeypatch.setattr(schema, "MIGRATIONS", str(migrations))
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, NEXT))
    return step


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_schema_sql_is_not_stale() -> None:
    assert (ROOT / "db" / "schema.sql").read_text() == schema_sql(), "python -m lbadvisor.store.schema > db/schema.sql"


def test_the_readme_names_every_table_and_column() -> None:
    readme = (ROOT / "db" / "README.md").read_text()
    for table in metadata.tables.values():
        _, found, section = readme.partition(f"\n### {table.name}\n")
        assert found, table.name
        section = section.partition("\n### ")[0]
        for column in table.columns:
            assert f"| `{column.name}` |" in section, f"{table.name}.{column.name}"


def test_the_migrations_make_the_tables_that_the_program_knows(tmp_path: Path) -> None:
    schema.create(tmp_path / "new.db")
    engine = create_engine(f"sqlite:///{tmp_path / 'new.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_program_knows_every_revision_in_order() -> None:
    config = Config()
    config.set_main_option("script_location", schema.MIGRATIONS)
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(revisions)) == schema.REVISIONS


@pytest.mark.parametrize("old", schema.REVISIONS)
def test_a_released_file_is_upgraded_and_read(tmp_path: Path, old: str) -> None:
    path = tmp_path / "runs.db"
    shutil.copy(ASSETS / f"{old}.db", path)
    assert revision(path) == old
    assert upgrade(path) == (old, schema.REVISIONS[-1])
    assert check(path) == []
    with Store.open(path, create=False) as store:
        assert [(run.name, run.recipe.batch.size, run.status.value) for run in store.runs()] == [
            ("digits-b64-s0", 64, "complete"),
            ("digits-b512-s0", 512, "stopped"),
        ]
        assert [(one.update, one.evaluation_accuracy_percent) for one in store.measurements(1)] == [
            (10, None),
            (20, 88.5),
            (30, None),
            (40, 93.25),
        ]
        plan_number = store.run("digits-b512-s0").plan_number
        assert plan_number is not None
        assert store.plan_json(plan_number).startswith('{"schema":1,')


def test_a_file_that_is_up_to_date_is_left_alone(path: Path) -> None:
    before = path.read_bytes()
    assert upgrade(path) == (NEWEST, NEWEST)
    assert path.read_bytes() == before
    assert not backup_path(path, NEWEST).exists()


def test_every_view_gives_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    shutil.copy(ASSETS / "0001.db", path)
    upgrade(path)
    assert {name for (name,) in rows(path, "SELECT name FROM sqlite_master WHERE type = 'view'")} == set(VIEWS)
    assert rows(path, "SELECT name, batch_size, final_accuracy_percent, best_accuracy_percent FROM run_summaries") == [
        ("digits-b64-s0", 64, 93.25, 93.25),
        ("digits-b512-s0", 512, 80.0, 80.0),
    ]
    assert rows(path, 'SELECT name, "update" FROM curves WHERE evaluation_accuracy_percent > 90') == [
        ("digits-b64-s0", 40)
    ]
    with Store.open(path, create=False) as store:
        ladder = store.add_ladder("l", store.run("1").recipe, 512)
        store.add_to_ladder(ladder.number, "sb", 1)
    assert rows(path, "SELECT ladder, arm, name FROM ladder_results") == [("l", "sb", "digits-b64-s0")]


def test_the_readme_names_every_view_and_its_columns(path: Path) -> None:
    readme = (ROOT / "db" / "README.md").read_text()
    with closing(sqlite3.connect(path)) as connection:
        for view in VIEWS:
            line = next(line for line in readme.splitlines() if line.startswith(f"| `{view}` |"))
            if view == "run_summaries":
                for column in connection.execute(f"SELECT * FROM {view}").description:
                    assert f"`{column[0]}`" in line


@pytest.mark.usefixtures("next_schema")
def test_an_older_file_is_not_opened_and_not_changed(path: Path) -> None:
    before = path.read_bytes()
    for create in (True, False):
        with pytest.raises(
            StoreError, match=f"older schema {NEWEST}, but this program needs {NEXT}: run `lbadvisor db upgrade`"
        ):
            Store.open(path, create=create)
    assert path.read_bytes() == before


@pytest.mark.usefixtures("next_schema")
def test_an_upgrade_keeps_a_copy_and_loses_no_row_of_a_remade_table(path: Path) -> None:
    measured = rows(path, "SELECT * FROM measurements")
    assert upgrade(path) == (NEWEST, NEXT)
    assert revision(path) == NEXT
    assert rows(path, "SELECT * FROM measurements") == measured != []
    assert rows(path, "SELECT name, note FROM runs") == [("digits-b64-s0", None), ("digits-b512-s0", None)]
    assert check(path) == []
    assert len(rows(path, "SELECT * FROM run_summaries")) == 2
    copy = backup_path(path, NEWEST)
    assert copy.name == f"runs.db.before-{NEWEST}.bak"
    assert revision(copy) == NEWEST
    assert rows(copy, "SELECT * FROM measurements") == measured


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(path: Path, next_schema: Path) -> None:
    next_schema.write_text(next_schema.read_text() + "    op.execute('INSERT INTO nowhere VALUES (1)')\n")
    before = rows(path, "SELECT sql FROM sqlite_master"), rows(path, "SELECT * FROM runs")
    with pytest.raises(StoreError, match="no such table: nowhere"):
        upgrade(path)
    assert revision(path) == NEWEST
    assert (rows(path, "SELECT sql FROM sqlite_master"), rows(path, "SELECT * FROM runs")) == before


def test_an_upgrade_refuses_to_build_on_rows_that_refer_to_nothing(path: Path, next_schema: Path) -> None:
    next_schema.write_text(next_schema.read_text() + "    op.execute('DELETE FROM recipes WHERE number = 1')\n")
    with pytest.raises(StoreError, match="refers to a missing row of recipes"):
        upgrade(path)
    assert check(path) == []


def test_a_newer_file_asks_for_a_newer_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE lbadvisor_version SET version_num = '0999'")
    for create in (True, False):
        with pytest.raises(
            StoreError, match=f"it has the schema 0999, but this program knows {NEWEST}: update the program"
        ):
            Store.open(path, create=create)
    with pytest.raises(StoreError, match="update the program"):
        upgrade(path)


def test_nothing_is_upgraded_or_checked_where_there_is_no_file(tmp_path: Path) -> None:
    for function in (revision, upgrade, check):
        with pytest.raises(StoreError, match="no database at"):
            function(tmp_path / "missing.db")
    assert list(tmp_path.iterdir()) == []


def test_the_tables_of_optuna_in_the_same_file_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('v3.2.0.a')")
        connection.execute("CREATE TABLE studies (study_id INTEGER PRIMARY KEY)")
    assert revision(path) is None
    with Store.open(path, create=True) as store:
        assert store.runs() == []
    assert revision(path) == schema.REVISIONS[-1]
    assert rows(path, "SELECT * FROM alembic_version") == [("v3.2.0.a",)]
    assert rows(path, "SELECT count(*) FROM studies") == [(0,)]


def test_another_programs_runs_are_not_taken_for_ours(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE runs (run_uuid TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program has its runs there"):
        Store.open(path, create=True)
    assert path.read_bytes() == before


def test_a_new_file_has_a_write_ahead_log(tmp_path: Path) -> None:
    schema.create(tmp_path / "new.db")
    assert rows(tmp_path / "new.db", "PRAGMA journal_mode") == [("wal",)]


def test_check_reports_a_row_that_refers_to_nothing(path: Path) -> None:
    assert check(path) == []
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM plans")
    assert check(path) == ["a row of runs refers to a missing row of plans"]
