"""`lbadvisor db`: the database file itself."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from lbadvisor.cli.console import print_json, stderr, stdout
from lbadvisor.cli.options import AsJson, Database
from lbadvisor.errors import StoreError

db = typer.Typer(name="db", no_args_is_help=True, help="Find, upgrade and check the database.")


@db.command("path")
def path(as_json: AsJson = False, database: Database = None) -> None:
    """Print where the database is, or would be."""
    file = _file(database)
    if as_json:
        print_json({"schema": 1, "path": str(file), "exists": file.exists()})
        return
    stdout().print(Text(str(file)), soft_wrap=True)
    if not file.exists():
        stderr().print("it is not there yet: `lbadvisor train` makes it")


@db.command("upgrade")
def upgrade(
    as_json: AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    database: Database = None,
) -> None:
    """Bring the database to the newest schema; the old file is kept beside it."""
    from lbadvisor.store import schema

    file = _file(database)
    if dry_run:
        old, new = schema.revision(file), schema.REVISIONS[-1]
        if old not in schema.REVISIONS:
            raise StoreError(schema.wrong_revision(file, old))
    else:
        old, new = schema.upgrade(file)
    if as_json:
        print_json({"schema": 1, "path": str(file), "before": old, "after": new, "dry_run": dry_run})
    elif old == new:
        stdout().print(Text(f"{file}: the schema is {new}, the newest"), soft_wrap=True)
    elif dry_run:
        stdout().print(Text(f"{file}: would be upgraded from schema {old} to {new}"), soft_wrap=True)
    else:
        kept = schema.backup_path(file, str(old))
        stdout().print(Text(f"{file}: upgraded from schema {old} to {new}; the old file is {kept}"), soft_wrap=True)


@db.command("check")
def check(as_json: AsJson = False, database: Database = None) -> None:
    """Check the database, and the checkpoints of its runs, for damage; the exit code is 1 where there is some."""
    from lbadvisor.store import schema

    file = _file(database)
    # Of a file that is damaged itself, or of another schema, no runs can be asked.
    faults = schema.check(file) or (_checkpoint_faults(file) if schema.revision(file) == schema.REVISIONS[-1] else [])
    if as_json:
        print_json({"schema": 1, "path": str(file), "faults": faults})
        raise typer.Exit(1 if faults else 0)
    if faults:
        raise StoreError("\n".join(f"database {file}: {fault}" for fault in faults))
    stdout().print(Text(f"{file}: no fault"), soft_wrap=True)


def _checkpoint_faults(file: Path) -> list[str]:
    """The checkpoints that a resume would pass over; the user learns of them while others are left."""
    from lbadvisor.errors import CheckpointError
    from lbadvisor.store import Store
    from lbadvisor.training.checkpoint_file import checkpoint_folder, checkpoints, read_checkpoint

    faults = []
    with Store.open(file, create=False) as store:
        runs = store.runs()
    for path in (path for run in runs for path in checkpoints(checkpoint_folder(file, run))):
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            faults.append(str(error))
    return faults


def _file(database: Path | None) -> Path:
    from lbadvisor.store import default_database_path

    return database or default_database_path()
