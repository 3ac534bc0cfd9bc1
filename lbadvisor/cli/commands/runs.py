"""`lbadvisor runs`: list, show, rename, prune, delete, import and export the database's runs."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from lbadvisor.cli.commands.runs_export import export
from lbadvisor.cli.commands.runs_import import import_run
from lbadvisor.cli.options import completion
from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words
from lbadvisor.cli.options.effects import TrainedOn, refuse_without_effect
from lbadvisor.cli.options.places import allowed_code
from lbadvisor.errors import UsageError
from lbadvisor.records.numerals import size_text
from lbadvisor.records.run import RunStatus
from lbadvisor.runs.databases import database_file, opened

LAST_MEASUREMENTS = 10

runs = typer.Typer(
    name="runs",
    add_completion=False,
    invoke_without_command=True,
    help="List, show, rename, prune, delete, import and export runs.",
)
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name or number of a run.", autocompletion=completion.runs)]


@runs.callback()
@command
def list_runs(
    words: Words,
    as_json: options.AsJson = False,
    status: Annotated[RunStatus | None, typer.Option("--status", help="Only runs with this status.")] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", metavar="NAME", help="Only runs of this recipe, adapted or not.")
    ] = None,
    ladder: Annotated[
        str | None,
        typer.Option("--ladder", metavar="NAME", help="Only runs of this ladder.", autocompletion=completion.ladders),
    ] = None,
    where: options.Where = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Only the N newest.")] = None,
    database: options.Database = None,
) -> None:
    """List the runs, oldest first."""
    if words.subcommand is not None:
        return
    from lbadvisor.cli.display.console import print_json, say, stderr, stdout
    from lbadvisor.cli.display.json_body import json_of
    from lbadvisor.cli.display.render_runs import runs_table
    from lbadvisor.cli.display.table import print_table
    from lbadvisor.comparison.conditions import Condition, parse_condition
    from lbadvisor.comparison.results import summary_of
    from lbadvisor.runs.selection import ladder_called, select

    conditions = [parse_condition(text) for text in where or ()]
    conditions += [Condition("status", "=", status.value)] if status is not None else []
    conditions += [Condition("recipe", "=", recipe)] if recipe is not None else []
    with opened(database) as store:
        of_ladder = () if ladder is None else (ladder_called(store, ladder).name,)
        found = sorted(select(store, of_ladder, conditions).runs, key=lambda run: run.number)
        found = found[-limit:] if limit is not None else found
        summaries = [summary_of(result) for result in store.results_of([run.number for run in found])]
    if as_json:
        print_json({"schema": 1, "runs": [json_of(summary) for summary in summaries]})
    elif not summaries and (conditions or ladder):
        say(stderr(), "no run matches: `lbadvisor runs` lists them all")
    else:
        print_table(stdout(), runs_table(summaries))


@runs.command("show")
@command
def show(
    run: RunName,
    as_json: options.AsJson = False,
    measurements: Annotated[
        bool, typer.Option("--measurements", help=f"Show all measurements, not only the last {LAST_MEASUREMENTS}.")
    ] = False,
    database: options.Database = None,
) -> None:
    """Show a run: its status, environment, recipe and measurements."""
    from lbadvisor.cli.display.console import print_json, stdout
    from lbadvisor.cli.display.json_body import json_of
    from lbadvisor.cli.display.render_runs import print_run
    from lbadvisor.comparison.results import summary_of
    from lbadvisor.training.checkpoints.checkpoint_file import checkpoints, pruned, update_of

    with opened(database) as store:
        found = store.run(run)
        measured, readings = store.measurements(found.number), store.readings(found.number)
        folder, (result,) = store.checkpoint_folder(found), store.results_of([found.number])
    saved_updates = [update_of(path) for path in checkpoints(folder)]
    shown = measured if measurements else measured[-LAST_MEASUREMENTS:]
    if as_json:
        print_json(
            {
                "schema": 1,
                "run": json_of(found),
                "saved_updates": saved_updates,
                "measurements": [json_of(measurement) for measurement in shown],
                "readings": [json_of(one) for one in readings if shown and one.update >= shown[0].update],
            }
        )
    else:
        saved = f"update {', '.join(map(str, saved_updates))}" if saved_updates else None
        kept = "pruned" if found.recipe.recorded is None and pruned(folder, found) else saved
        print_run(stdout(), found, summary_of(result), kept, shown, len(measured), readings)


@runs.command("rename")
@command
def rename(
    run: RunName,
    name: Annotated[str, typer.Argument(metavar="NEW", help="New name.")],
    database: options.Database = None,
) -> None:
    """Rename a run. It keeps its checkpoints and its place in ladders."""
    from lbadvisor.cli.display.console import say, stderr
    from lbadvisor.runs.names import checked_name
    from lbadvisor.runs.stored_runs import rename_run

    with opened(database) as store:
        found = store.run(run)
        new = checked_name(name, "run")
        if new in store.ladder_names():
            raise UsageError(f"a ladder is already named {new}: give another name")
        rename_run(store, found, new)
    say(stderr(), escape(f"{found.name} is now {new}"))


@runs.command("delete")
@command
def delete(
    names: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Names or numbers of runs.", autocompletion=completion.runs)
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and do nothing.")] = False,
    database: options.Database = None,
) -> None:
    """Delete runs permanently, with their measurements and checkpoints, after asking."""
    from lbadvisor.cli.display.console import say, stderr, stdout
    from lbadvisor.cli.options.asking import confirm
    from lbadvisor.runs.stored_runs import delete_run, refuse_in_training

    with opened(database) as store:
        found = {run.number: run for run in map(store.run, names)}.values()
        ladders = [ladder for name in store.ladder_names() if (ladder := store.find_ladder(name)) is not None]
        belongs = {
            run.number: [ladder.name for ladder in ladders if run.number in {number for _, number in ladder.arms}]
            for run in found
        }
        listed = ", ".join(
            f"{run.name} ({run.update} of {run.at_most}{run.updates} updates, {run.status}"
            + "".join(f", of the ladder {name}" for name in belongs[run.number])
            + ")"
            for run in found
        )
        if dry_run:
            say(stdout(), escape(f"would delete {listed}; nothing was done"))
            return
        confirm(f"Delete {listed}, with checkpoints?", yes=yes)
        refuse_in_training(list(found))
        for run in found:
            delete_run(store, run)
            say(stderr(), escape(f"deleted {run.name}"))


@runs.command("prune")
@command
def prune(
    names: options.RunNamesOrAll = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and do nothing.")] = False,
    database: options.Database = None,
) -> None:
    """Delete the checkpoints of complete runs permanently, after asking. Keeps the results.

    Anything that needs a run's weights, such as export-weights, is then no longer possible.
    """
    from lbadvisor.cli.display.console import say, stderr, stdout
    from lbadvisor.cli.options.asking import confirm
    from lbadvisor.runs.selection import select
    from lbadvisor.runs.stored_runs import checkpoint_bytes, prune_run

    with opened(database) as store:
        found = select(store, names or ()).runs
        sizes = {run.number: checkpoint_bytes(store, run) for run in found}
        complete = [run for run in found if run.status is RunStatus.COMPLETE and sizes[run.number]]
        for run in found if names else ():
            if run.status is not RunStatus.COMPLETE:
                kept = f"{run.name} is {run.status}, not complete: its checkpoints are kept"
                say(stderr(), escape(kept))
        size = size_text(sum(sizes[run.number] for run in complete))
        listed = ", ".join(f"{run.name} ({size_text(sizes[run.number])})" for run in complete)
        if not complete:
            say(stdout(), "nothing to prune: no complete run has checkpoints")
        elif dry_run:
            said = f"would free {size}: the checkpoints of {listed}; nothing was done"
            say(stdout(), escape(said))
        else:
            confirm(f"Delete the checkpoints of {listed}, {size} in all?", yes=yes)
            freed = sum(prune_run(store, run) for run in complete)
            pruned = ", ".join(run.name for run in complete)
            said = f"pruned {pruned}: {size_text(freed)} freed, the results are kept"
            say(stderr(), escape(said))


@runs.command("export-weights")
@command
def export_weights(
    words: Words,
    run: RunName,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="File to write.")],
    as_torch: Annotated[
        bool, typer.Option("--pt", help="Write a plain torch state dict instead of safetensors.")
    ] = False,
    which: Annotated[
        Literal["averaged", "last"] | None,
        typer.Option("--weights", help="Default: averaged if the recipe averages weights, else last."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE if it exists.")] = False,
    allow_code: options.AllowCode = False,
    database: options.Database = None,
) -> None:
    """Write a run's weights as a state dict of the plain network, with batch norm in place of ghost batch norm.

    They come from the newest checkpoint. The metadata of a safetensors file describe them: recipe, seed, update,
    classes, and how pixels are normalized.
    """
    from lbadvisor.cli.output import check_out

    check_out(out, force=force, source=database_file(database))
    if as_torch and out.suffix == ".safetensors":
        raise UsageError(f"--out {out}: --pt writes a torch file: drop --pt, or change the file ending")
    if not as_torch and out.suffix in (".pt", ".pth"):
        raise UsageError(
            f"--out {out}: without --pt, a safetensors file is written: give --pt, or change the file ending"
        )
    from lbadvisor.cli.display.console import say, stderr
    from lbadvisor.training.checkpoints.weights import read_weights, write_weights

    with opened(database) as store:
        found = store.run(run)
        refuse_without_effect(words, TrainedOn.of(found.recipe))
        weights = read_weights(store.checkpoint_folder(found), found, which, allowed_code(words, allow_code=allow_code))
    write_weights(out, weights, as_torch=as_torch)
    for note in weights.notes:
        say(stderr(), escape(f"note {note}"))
    said = (
        f"wrote {out}: {found.name}, {weights.which} weights of update {weights.update} of "
        f"{found.at_most}{found.updates}, {len(weights.tensors)} tensors, {size_text(out.stat().st_size)}"
    )
    say(stderr(), escape(said))


runs.command("export")(export)
runs.command("import")(import_run)
