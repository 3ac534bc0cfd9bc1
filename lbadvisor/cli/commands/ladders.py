"""`lbadvisor ladders`: list, show, rename and delete the database's ladders."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from lbadvisor.cli.options import completion
from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words
from lbadvisor.errors import UsageError
from lbadvisor.runs.databases import opened

if TYPE_CHECKING:
    from lbadvisor.records.run import Ladder, Run
    from lbadvisor.store import Store

ladders = typer.Typer(
    name="ladders", add_completion=False, invoke_without_command=True, help="List, show, rename and delete ladders."
)
LadderName = Annotated[
    str, typer.Argument(metavar="LADDER", help="Name of a ladder.", autocompletion=completion.ladders)
]


@ladders.callback()
@command
def list_ladders(words: Words, as_json: options.AsJson = False, database: options.Database = None) -> None:
    """List the ladders, oldest first."""
    if words.subcommand is not None:
        return
    from lbadvisor.cli.display.console import print_json, stdout
    from lbadvisor.cli.display.render_ladders import ladder_body, ladders_table
    from lbadvisor.cli.display.table import print_table

    with opened(database) as store:
        found = [(ladder, _members(store, ladder)) for ladder in store.ladders()]
    if as_json:
        print_json({"schema": 1, "ladders": [ladder_body(*one) for one in found]})
    else:
        print_table(stdout(), ladders_table(found))


@ladders.command("show")
@command
def show(name: LadderName, as_json: options.AsJson = False, database: options.Database = None) -> None:
    """Show a ladder: baseline, target, and the runs of each arm. To compare them: `lbadvisor compare LADDER`."""
    from lbadvisor.cli.display.console import print_json, stdout
    from lbadvisor.cli.display.render_ladders import ladder_body, member_bodies, print_ladder_runs
    from lbadvisor.comparison.results import summary_of
    from lbadvisor.runs.selection import ladder_called

    with opened(database) as store:
        ladder = ladder_called(store, name)
        members = _members(store, ladder)
        results = store.results_of([run.number for _, run in members])
    summaries = [(arm, summary_of(result)) for (arm, _), result in zip(members, results, strict=True)]
    if as_json:
        print_json({"schema": 1, "ladder": ladder_body(ladder, members), "runs": member_bodies(summaries)})
    else:
        print_ladder_runs(stdout(), ladder, members, summaries)


@ladders.command("rename")
@command
def rename(
    name: LadderName,
    new: Annotated[str, typer.Argument(metavar="NEW", help="New name.")],
    database: options.Database = None,
) -> None:
    """Rename a ladder. Its runs keep their names, and the command that made it still finds it."""
    from lbadvisor.cli.display.console import say, stderr
    from lbadvisor.runs.names import checked_name
    from lbadvisor.runs.selection import ladder_called

    with opened(database) as store:
        ladder = ladder_called(store, name)
        if store.find_run(checked_name(new, "ladder")) is not None:
            raise UsageError(f"a run is already named {new}: give another name")
        store.rename_ladder(ladder.number, new)
    say(stderr(), escape(f"{ladder.name} is now {new}"))


@ladders.command("delete")
@command
def delete(
    name: LadderName,
    with_runs: Annotated[
        bool,
        typer.Option(
            "--with-runs", help="Also delete its runs and their checkpoints, except those shared with other ladders."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be deleted, and do nothing.")] = False,
    database: options.Database = None,
) -> None:
    """Delete a ladder permanently, after asking. Keeps its runs, unless --with-runs is given."""
    from lbadvisor.cli.display.console import say, stderr, stdout
    from lbadvisor.cli.options.asking import confirm
    from lbadvisor.runs.selection import ladder_called
    from lbadvisor.runs.stored_runs import delete_run, refuse_in_training

    with opened(database) as store:
        ladder = ladder_called(store, name)
        members = [run for _, run in _members(store, ladder)]
        shared = {number for other in store.ladders() if other.number != ladder.number for _, number in other.arms}
        doomed = [run for run in members if with_runs and run.number not in shared]
        kept = [run for run in members if run not in doomed]
        what = f"the ladder {ladder.name}"
        what += f" and its runs {_names(doomed)}, with checkpoints" if doomed else ""
        what += f"; kept: {_names(kept)}" if kept else ""
        if dry_run:
            say(stdout(), escape(f"would delete {what}; nothing was done"))
            return
        confirm(f"Delete {what}?", yes=yes)
        refuse_in_training(doomed)
        for run in doomed:
            delete_run(store, run)
        store.delete_ladder(ladder.number)
    say(stderr(), escape(f"deleted {what}"))


def _names(runs: "Sequence[Run]") -> str:
    return ", ".join(run.name for run in runs)


def _members(store: "Store", ladder: "Ladder") -> "list[tuple[str, Run]]":
    """Pairs (arm's name, run), arm by arm."""
    from lbadvisor.runs.selection import members_of

    return [(arm, store.run(str(number))) for arm, number in members_of(ladder)]
