"""`lbadvisor db copy`: all that a database holds, to another one."""

from typing import Annotated

import typer
from rich.text import Text

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.records.numerals import listed, size_text
from lbadvisor.runs.databases import opened, opened_to_train

TOLD = ("runs", "plans", "ladders", "measurements", "readings", "studies", "trials", "checkpoints")
"""What the user knows of what is copied."""


@command
def copy(
    to: Annotated[str, typer.Argument(metavar="TO", help="New or empty database: a file, or a server's URL.")],
    as_json: options.AsJson = False,
    database: options.Database = None,
) -> None:
    """Copy the database and its checkpoints to another database, such as a file to a PostgreSQL server.

    Runs keep their names and numbers, and stopped ones can be resumed in the copy. It is whole or empty: if the command
    is stopped or killed, repeat it. Refused while a process trains one of the runs.
    """
    from lbadvisor.cli.display.console import print_json, say, stderr, stdout
    from lbadvisor.cli.display.train_display import Display
    from lbadvisor.cli.probing import follow_probe
    from lbadvisor.refine.study import TABLES_OF_STUDIES
    from lbadvisor.runs.copying import copy_database
    from lbadvisor.runs.stored_runs import checkpoint_bytes

    with opened(database) as source, opened_to_train(to) as target:
        copied = follow_probe(copy_database(source, target, TABLES_OF_STUDIES), Display(quiet=False))
        size_bytes = sum(checkpoint_bytes(target, run) for run in target.runs())
    if as_json:
        body = {"path": str(source.address), "to": str(target.address), "copied": copied, "bytes": size_bytes}
        print_json({"schema": 1} | body)
        return
    told = [name for name in TOLD if copied.get(name) or name in ("runs", "checkpoints")]
    what = f"{listed([_counted(copied[name], name) for name in told])} ({size_text(size_bytes)})"
    say(stdout(), Text(f"copied {what} to {target.address}; use it with --db or LBADVISOR_DB"))
    say(stderr(), Text(f"its checkpoints lie in {target.checkpoints}"))


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name.replace('ies', 'ys').removesuffix('s') if count == 1 else name}"
