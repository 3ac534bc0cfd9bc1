"""`lbadvisor runs import`: a run that another program logged, from a table or from TensorBoard's event files."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.errors import UsageError
from lbadvisor.runs.databases import opened_to_train


@command
def import_run(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="CSV file (.csv), or an event file of TensorBoard or a folder of them."),
    ],
    name: Annotated[str, typer.Option("--name", help="Name of the run.")],
    recipe: Annotated[Path | None, typer.Option("--recipe", metavar="RECIPE", help="Recipe that it trained.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--setting",
            metavar="KEY=VALUE",
            help="A setting, without a recipe: batch_size=128, examples=50000, optimizer=sgd, lr=0.1; repeatable.",
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="QUANTITY=COLUMN",
            help="Column or tag of a quantity: loss=train_loss, accuracy=100*val_acc, update=step+1; repeatable.",
        ),
    ] = None,
    seed: options.Seed = 0,
    program: Annotated[str, typer.Option("--program", help="What trained it.")] = "another program",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be stored, and do nothing.")] = False,
    database: options.Database = None,
) -> None:
    """Store a run that was trained elsewhere, to compare it with others.

    Each row, or step, is one update. Columns that are called as a quantity is (loss, accuracy, lr, gradient_norm, ...)
    need no --column. Accuracies are in percent. Nothing is stored if a row is wrong.
    """
    from lbadvisor.cli.display.console import say, stderr
    from lbadvisor.recipe.file import load_recipe
    from lbadvisor.recipe.settings import recipe_of_settings, recorded
    from lbadvisor.records.numerals import counted
    from lbadvisor.runs.importing import csv_sheet, import_measured, measured_in, sources_of
    from lbadvisor.runs.names import checked_name

    if recipe is None and not settings:
        raise UsageError("say what it trained: --recipe RECIPE, or --setting batch_size=B and whatever else is known")
    checked_name(name, "run")
    if recipe is not None:
        trained = recorded(load_recipe(recipe), program)
    else:
        trained = recipe_of_settings(dict(map(_setting, settings or ())), name, program)
    if not file.exists():
        raise UsageError(f"{file}: there is no such file or folder")
    if file.suffix.lower() == ".csv":
        sheet = csv_sheet(file)
    else:
        from lbadvisor.trackers.event_files import events_sheet

        sheet = events_sheet(file)
    sources = sources_of(sheet, columns or ())
    measured = measured_in(sheet, sources, trained)
    used = ", ".join(f"{key} from {source.column}" for key, source in sources.items())
    said = f"{name}: {counted(len(measured), 'measurement')} up to update {measured[-1].measurement.update:,}; {used}"
    if dry_run:
        say(stderr(), escape(f"would store {said}; nothing was done"))
        return
    with opened_to_train(database) as store:
        import_measured(store, name, trained, seed, measured, file)
    say(stderr(), escape(f"stored {said}"))


def _setting(text: str) -> tuple[str, Any]:
    from lbadvisor.recipe.overrides import value_of_text

    key, _, value = text.partition("=")
    try:
        return key, value_of_text(value)
    except ValueError as error:
        raise UsageError(f"--setting {text}: {error}; give KEY=VALUE, as in lr=0.1") from None
