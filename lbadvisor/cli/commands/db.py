"""`lbadvisor db`: the database itself."""

import math
from typing import Annotated

import typer
from rich.text import Text

from lbadvisor.cli.commands.db_copy import copy
from lbadvisor.cli.display.console import print_json, say, stderr, stdout
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.words import AsCsv, AsJson, Database
from lbadvisor.errors import StoreError, UsageError
from lbadvisor.records.numerals import ABSENT
from lbadvisor.runs.databases import DatabaseAddress, address_of, opened

db = typer.Typer(
    name="db", add_completion=False, no_args_is_help=True, help="Locate, upgrade, check, query and copy the database."
)


@db.command("path")
@command
def path(as_json: AsJson = False, database: Database = None) -> None:
    """Print the path or URL of the database, and where its checkpoints lie."""
    from lbadvisor.store import schema
    from lbadvisor.store.run_folder import checkpoints_of

    address = address_of(database)
    exists, checkpoints = schema.exists(address), checkpoints_of(address)
    if as_json:
        print_json({"schema": 1, "path": str(address), "exists": exists, "checkpoints": str(checkpoints)})
        return
    say(stdout(), Text(str(address)))
    say(stderr(), Text(f"its checkpoints lie in {checkpoints}"))
    if not exists:
        say(stderr(), "it does not exist yet: `lbadvisor train` creates it")


@db.command("upgrade")
@command
def upgrade(
    as_json: AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    database: Database = None,
) -> None:
    """Upgrade the database to the newest schema. A file is copied first; for a server's database, run pg_dump first."""
    from lbadvisor.store import schema

    address = address_of(database)
    if dry_run:
        old, new = schema.revision(address), schema.REVISIONS[-1]
        if old not in schema.REVISIONS:
            raise StoreError(schema.wrong_revision(address, old))
    else:
        old, new = schema.upgrade(address)
    if as_json:
        print_json({"schema": 1, "path": str(address), "before": old, "after": new, "dry_run": dry_run})
    elif old == new:
        say(stdout(), Text(f"{address}: the schema is {new}, the newest"))
    elif dry_run:
        say(stdout(), Text(f"{address}: would be upgraded from schema {old} to {new}"))
    else:
        copy = schema.backup_path(address, str(old))
        kept = "no copy was kept" if copy is None else f"the old file is {copy}"
        say(stdout(), Text(f"{address}: upgraded from schema {old} to {new}; {kept}"))


@db.command("check")
@command
def check(as_json: AsJson = False, database: Database = None) -> None:
    """Check the database and its checkpoints. Exits with code 1 if any are damaged or missing, but not if pruned."""
    from lbadvisor.store import schema

    address = address_of(database)
    if schema.revision(address) is None:
        raise StoreError(schema.wrong_revision(address, None))
    faults, pruned = schema.check(address), list[str]()
    # A damaged file, or one of another schema, cannot be asked for its runs.
    if not faults and schema.revision(address) == schema.REVISIONS[-1]:
        faults, pruned = _checkpoint_faults(address)
    if as_json:
        print_json({"schema": 1, "path": str(address), "faults": faults, "pruned": pruned})
        raise typer.Exit(1 if faults else 0)
    if faults:
        raise StoreError("\n".join(f"database {address}: {fault}" for fault in faults))
    for name in pruned:
        say(stderr(), Text(f"the checkpoints of {name} were pruned"))
    say(stdout(), Text(f"{address}: no faults"))


@db.command("query")
@command
def query(
    sql: Annotated[
        str, typer.Option("--sql", metavar="SELECT", help="One SELECT statement; db/README.md describes the tables.")
    ],
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    database: Database = None,
) -> None:
    """Query the database in SQL, read-only: a query that would change anything is refused."""
    from lbadvisor.cli.display.comma_separated import csv_text
    from lbadvisor.cli.display.table import Heading, Table, print_table
    from lbadvisor.store import query as asking

    answer = asking.query(address_of(database), sql)
    if as_json:
        twice = sorted({name for name in answer.columns if answer.columns.count(name) > 1})
        if twice:
            raise UsageError(f"--json: two columns are named `{twice[0]}`: rename one with AS")
        rows = [
            {name: cell.hex() if isinstance(cell, bytes) else _json_number(cell) for name, cell in named}
            for named in (zip(answer.columns, row, strict=True) for row in answer.rows)
        ]
        print_json({"schema": 1, "columns": list(answer.columns), "rows": rows})
    elif as_csv:
        print(csv_text([answer.columns, *answer.rows]), end="")  # noqa: T201
    else:
        # The first column matters most to the user.
        columns = (Heading(name, "name", rank=place) for place, name in enumerate(answer.columns))
        print_table(stdout(), Table(tuple(columns), tuple(tuple(map(_cell_text, row)) for row in answer.rows)))


db.command("copy")(copy)


def _cell_text(cell: object) -> str:
    """The cell as the database has it, floats with six digits: only the user knows which numbers are quantities."""
    if cell is None:
        return ABSENT
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)


def _json_number(cell: str | int | float | None) -> str | int | float | None:
    """The cell as JSON; null if it is not finite."""
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _checkpoint_faults(address: DatabaseAddress) -> tuple[list[str], list[str]]:
    """The checkpoints that resuming would skip or refuse, while there are others left; and the pruned runs.

    A checkpoint that disappears meanwhile was replaced by the process that trains the run.
    """
    from lbadvisor.errors import CheckpointError, RefusedError
    from lbadvisor.training.checkpoints.checkpoint_file import checkpoints, header_of, missing, pruned

    faults, gone = [], []
    with opened(address) as store:
        folders = [(run, store.checkpoint_folder(run)) for run in store.runs()]
    for run, folder in folders:
        for path in checkpoints(folder):
            try:
                header_of(path, run)
            except (CheckpointError, RefusedError) as error:
                if path.exists():
                    faults.append(str(error))
        if pruned(folder, run):
            gone.append(run.name)
        elif fault := missing(folder, run):
            faults.append(fault)
    return faults, gone
