"""The schema is made by migrations only, is what the program takes it for, and old files reach it unharmed."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from raw_sql import raw_sql
from sqlalchemy import MetaData, inspect

from lbadvisor.errors import StoreError
from lbadvisor.store import Store, backup_path, check, revision, schema, schema_sql, upgrade
from lbadvisor.store.address import DatabaseAddress
from lbadvisor.store.dialect import dialect_of
from lbadvisor.store.tables import metadata
from lbadvisor.store.views import VIEWS

ROOT = Path(__file__).parents[2]
ASSETS = Path(__file__).parent / "assets"
NEWEST = schema.REVISIONS[-1]
NEXT = f"{int(NEWEST) + 1:04}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    shutil.copy(ASSETS / f"{NEWEST}.db", tmp_path / "runs.db")
    return tmp_path / "runs.db"


@pytest.fixture
def released(new_database: Callable[[str], DatabaseAddress]) -> Callable[[str], DatabaseAddress]:
    """Gives a database of either kind with the schema of a revision and the rows of its asset."""

    def make(revision: str) -> DatabaseAddress:
        database = new_database("template1")
        asset = ASSETS / f"{revision}.db"
        if isinstance(database, Path):
            database.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(asset, database)
            return database
        engine = dialect_of(database).open_engine(database)
        with engine.begin() as connection, closing(sqlite3.connect(asset)) as asset_file:
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", schema.MIGRATIONS)
            command.upgrade(config, revision)
            made = MetaData()
            made.reflect(connection)
            for table in made.sorted_tables:
                found = asset_file.execute(f"SELECT * FROM {table.name}")
                names = [column[0] for column in found.description]
                rows = [dict(zip(names, row, strict=True)) for row in found]
                if table.name != schema.VERSION_TABLE and rows:
                    connection.execute(table.insert(), rows)
                if "number" in names:
                    numbered = f"SELECT setval('{table.name}_number_seq', (SELECT max(number) FROM {table.name}))"
                    connection.exec_driver_sql(numbered)
        engine.dispose()
        return database

    return make


@pytest.fixture
def database(released: Callable[[str], DatabaseAddress]) -> DatabaseAddress:
    """A database of either kind with the newest schema and the rows of its asset."""
    return released(NEWEST)


@pytest.fixture
def place(address: DatabaseAddress) -> DatabaseAddress:
    """A database of either kind without tables, whose file can be made."""
    if isinstance(address, Path):
        address.parent.mkdir(parents=True, exist_ok=True)
    return address


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
        "    how = 'always' if op.get_bind().dialect.name == 'sqlite' else 'auto'\n"
        "    with op.batch_alter_table('runs', recreate=how) as runs:\n"
        "        runs.add_column(sa.Column('note', sa.Text))\n"
    )
    monkeypatch.setattr(schema, "MIGRATIONS", str(migrations))
    monkeypatch.setattr(schema, "REVISIONS", (*schema.REVISIONS, NEXT))
    return step


def columns(database: DatabaseAddress) -> dict[str, list[str]]:
    """The columns of each table and view."""
    engine = dialect_of(database).open_engine(database)
    with engine.connect() as connection:
        seen = inspect(connection)
        names = (*seen.get_table_names(), *seen.get_view_names())
        found = {name: [column["name"] for column in seen.get_columns(name)] for name in names}
    engine.dispose()
    return found


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


def test_the_migrations_make_the_tables_that_the_program_knows(address: DatabaseAddress) -> None:
    schema.create(address)
    engine = dialect_of(address).open_engine(address)
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
def test_a_released_database_is_upgraded_and_read(released: Callable[[str], DatabaseAddress], old: str) -> None:
    database = released(old)
    assert revision(database) == old
    assert upgrade(database) == (old, schema.REVISIONS[-1])
    assert check(database) == []
    with Store.open(database, create=False) as store:
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


def test_a_file_that_is_up_to_date_is_left_alone(file: Path) -> None:
    before = file.read_bytes()
    assert upgrade(file) == (NEWEST, NEWEST)
    assert file.read_bytes() == before
    assert not backup_path(file, NEWEST).exists()


def test_every_view_gives_its_rows(released: Callable[[str], DatabaseAddress]) -> None:
    database = released("0001")
    upgrade(database)
    assert set(VIEWS) <= columns(database).keys()
    asked = "name, recipe, batch_size, lr, adapted_parts, final_accuracy_percent, best_accuracy_percent"
    assert raw_sql(database, f"SELECT {asked} FROM run_summaries ORDER BY number") == [
        ("digits-b64-s0", "digits-b64", 64, 0.1, None, 93.25, 93.25),
        ("digits-b512-s0", "digits-b512", 512, pytest.approx(0.1 * 8**0.5), None, 80.0, 80.0),
    ]
    assert raw_sql(database, 'SELECT name, "update" FROM curves WHERE evaluation_accuracy_percent > 90') == [
        ("digits-b64-s0", 40)
    ]
    with Store.open(database, create=False) as store:
        ladder = store.add_ladder("l", store.run("1").recipe, 512)
        store.add_to_ladder(ladder.number, "sb", 1)
    assert raw_sql(database, "SELECT ladder, arm, name FROM ladder_results") == [("l", "sb", "digits-b64-s0")]


def test_the_readme_names_every_view_and_its_columns(file: Path) -> None:
    readme = (ROOT / "db" / "README.md").read_text()
    with closing(sqlite3.connect(file)) as connection:
        for view in VIEWS:
            line = next(line for line in readme.splitlines() if line.startswith(f"| `{view}` |"))
            if view == "run_summaries":
                for column in connection.execute(f"SELECT * FROM {view}").description:
                    assert f"`{column[0]}`" in line


@pytest.mark.usefixtures("next_schema")
def test_an_older_database_is_not_opened_and_not_changed(database: DatabaseAddress) -> None:
    before = columns(database)
    for create in (True, False):
        with pytest.raises(
            StoreError, match=f"older schema {NEWEST}, but this program needs {NEXT}: run `lbadvisor db upgrade`"
        ):
            Store.open(database, create=create)
    assert columns(database) == before


@pytest.mark.usefixtures("next_schema")
def test_an_upgrade_keeps_a_copy_of_a_file_and_loses_no_row_of_a_remade_table(database: DatabaseAddress) -> None:
    measured = raw_sql(database, "SELECT * FROM measurements")
    assert upgrade(database) == (NEWEST, NEXT)
    assert revision(database) == NEXT
    assert raw_sql(database, "SELECT * FROM measurements") == measured != []
    noted = [("digits-b64-s0", None), ("digits-b512-s0", None)]
    assert raw_sql(database, "SELECT name, note FROM runs ORDER BY number") == noted
    assert check(database) == []
    assert len(raw_sql(database, "SELECT * FROM run_summaries")) == 2
    copy = backup_path(database, NEWEST)
    assert (copy is not None) == isinstance(database, Path)
    if copy is not None:
        assert copy.name == f"runs.db.before-{NEWEST}.bak"
        assert revision(copy) == NEWEST
        assert raw_sql(copy, "SELECT * FROM measurements") == measured


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(database: DatabaseAddress, next_schema: Path) -> None:
    next_schema.write_text(next_schema.read_text() + "    op.execute('INSERT INTO nowhere VALUES (1)')\n")
    before = columns(database), raw_sql(database, "SELECT * FROM runs")
    with pytest.raises(StoreError, match=r'no such table: nowhere|"nowhere" does not exist'):
        upgrade(database)
    assert revision(database) == NEWEST
    assert (columns(database), raw_sql(database, "SELECT * FROM runs")) == before


def test_an_upgrade_refuses_to_build_on_rows_that_refer_to_nothing(
    database: DatabaseAddress, next_schema: Path
) -> None:
    next_schema.write_text(next_schema.read_text() + "    op.execute('DELETE FROM recipes WHERE number = 1')\n")
    with pytest.raises(StoreError, match=r"refers to a missing row of recipes|violates foreign key constraint"):
        upgrade(database)
    assert check(database) == []


def test_a_newer_database_asks_for_a_newer_program(database: DatabaseAddress) -> None:
    raw_sql(database, "UPDATE lbadvisor_version SET version_num = '0999'")
    for create in (True, False):
        with pytest.raises(
            StoreError, match=f"it has the schema 0999, but this program knows {NEWEST}: update the program"
        ):
            Store.open(database, create=create)
    with pytest.raises(StoreError, match="update the program"):
        upgrade(database)


def test_nothing_is_upgraded_or_checked_where_there_is_no_file(tmp_path: Path) -> None:
    for function in (revision, upgrade, check):
        with pytest.raises(StoreError, match="no database at"):
            function(tmp_path / "missing.db")
    assert list(tmp_path.iterdir()) == []


def test_the_tables_of_optuna_in_the_same_database_are_left_alone(place: DatabaseAddress) -> None:
    raw_sql(place, "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    raw_sql(place, "INSERT INTO alembic_version VALUES ('v3.2.0.a')")
    raw_sql(place, "CREATE TABLE studies (study_id INTEGER PRIMARY KEY)")
    assert revision(place) is None
    with Store.open(place, create=True) as store:
        assert store.runs() == []
    assert revision(place) == schema.REVISIONS[-1]
    assert raw_sql(place, "SELECT * FROM alembic_version") == [("v3.2.0.a",)]
    assert raw_sql(place, "SELECT count(*) FROM studies") == [(0,)]


def test_another_programs_runs_are_not_taken_for_ours(place: DatabaseAddress) -> None:
    raw_sql(place, "CREATE TABLE runs (run_uuid TEXT)")
    with pytest.raises(StoreError, match="another program has its runs there"):
        Store.open(place, create=True)
    assert columns(place) == {"runs": ["run_uuid"]}


def test_reading_a_database_of_another_program_makes_nothing_there(place: DatabaseAddress) -> None:
    raw_sql(place, "CREATE TABLE alembic_version (version_num TEXT)")
    for read in (lambda: Store.open(place, create=False), lambda: upgrade(place)):
        with pytest.raises(StoreError, match="has no runs of this program"):
            read()
    assert columns(place) == {"alembic_version": ["version_num"]}


def test_a_new_file_has_a_write_ahead_log(tmp_path: Path) -> None:
    schema.create(tmp_path / "new.db")
    assert raw_sql(tmp_path / "new.db", "PRAGMA journal_mode") == [("wal",)]


def test_check_reports_a_row_that_refers_to_nothing(database: DatabaseAddress) -> None:
    assert check(database) == []
    unchecked = "" if isinstance(database, Path) else "SET session_replication_role = replica; "
    raw_sql(database, f"{unchecked}DELETE FROM plans")
    assert check(database) == ["a row of runs refers to a missing row of plans"]
