"""`lbadvisor audit`: what another trainer will really do with its batch size, and where it departs from the plan."""

from typing import Annotated, Literal

import typer

from lbadvisor.cli.options import words as options
from lbadvisor.cli.options.command import command


@command
def audit(
    setting: Annotated[
        list[str], typer.Argument(metavar="FILE|WORDS...", help="A file, or a command line in quotes or after --.")
    ],
    form: Annotated[
        Literal["timm", "transformers", "mmengine", "detectron2", "bigbatch"] | None,
        typer.Option("--format", help="Whose setting it is. Default: recognized by its content."),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option("--devices", metavar="N", min=1, help="Devices that train, if the setting does not say."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--from",
            metavar="B",
            min=1,
            help="Batch size at which its learning rate was tuned. Default: its own claim.",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what another trainer will really do with its batch size, and where it departs from the plan.

    Reads timm's command line or args.yaml, Hugging Face TrainingArguments as JSON, MMEngine and Detectron2
    configurations, and bigBatch's command line. Nothing in them is run.
    """
    from lbadvisor.cli.display.console import print_json, stdout
    from lbadvisor.cli.display.diagnosis_display import diagnosis_body, print_diagnosis
    from lbadvisor.planning.audit.audit import audit_of
    from lbadvisor.planning.audit.audit_text import diagnosis_of

    found = audit_of(setting, form, devices, batch_size)
    if as_json:
        print_json({"schema": 1} | diagnosis_body(found, diagnosis_of(found)))
    else:
        print_diagnosis(stdout(), diagnosis_of(found), chart=False)
