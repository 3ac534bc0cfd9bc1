"""`lbadvisor export`: a training, adapted or as it is, in another trainer's words."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command
from lbadvisor.cli.options.command_line import Words

if TYPE_CHECKING:
    from lbadvisor.planning.export.exported import Exported

Trainer = Literal["timm", "lightning", "transformers", "torchtitan", "mmengine", "detectron2", "composer", "torch"]


@command
def export(
    words: Words,
    recipe: options.RecipeFile,
    *,
    trainer: Annotated[Trainer, typer.Option("--for", help="The trainer that reads it.")],
    adapt: options.Adapt,
    changes: options.Changes,
    devices: Annotated[
        int, typer.Option("--devices", metavar="N", min=1, help="Devices that share each batch equally.")
    ] = 1,
    database: options.Database = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it to this file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --out overwrite a file.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Write a training as another trainer's flags, configuration or code, with a reason for each line.

    With --to, the recipe is adapted first, as `plan` does. What the trainer cannot express stands in the text and on
    stderr. The trainer's own scaling of batch, rate or length is off.
    """
    from rich.text import Text

    from lbadvisor.cli.display.console import print_json, say, stderr
    from lbadvisor.cli.display.render_plan import caveat_text
    from lbadvisor.cli.options.adaptation import trained_recipe
    from lbadvisor.cli.output import check_out, write_out
    from lbadvisor.planning.export.planned_training import planned_training
    from lbadvisor.planning.export.trainers import TRAINERS

    if out is not None:
        check_out(out, force=force, source=recipe)
    plan, trained = trained_recipe(recipe, changes, adapt, words, database)
    exported = TRAINERS[trainer](planned_training(plan or trained, devices))
    if out is not None:
        write_out(out, exported.text)
    if as_json:
        print_json(_body(exported))
    elif out is None:
        print(exported.text, end="")  # noqa: T201
    for caveat in plan.warnings if plan else ():
        say(stderr(), caveat_text(caveat))
    for sentence in exported.cannot:
        say(stderr(), Text.assemble(("not expressed", "yellow"), f" in {trainer}: {sentence}"))


def _body(exported: "Exported") -> dict[str, object]:
    return {"schema": 1, **asdict(exported), "text": exported.text}
