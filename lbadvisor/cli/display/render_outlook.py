"""Which option saves time, as sentences and a table."""

from typing import Any

from rich.console import Console
from rich.text import Text

from lbadvisor.cli.display.console import say
from lbadvisor.cli.display.table import Heading, Table, TableCell, print_table
from lbadvisor.plan.outlook import Outlook, ScaledBatch
from lbadvisor.records.numerals import ABSENT, duration_text

_COLUMNS = (
    Heading("batch"),
    Heading("devices"),
    Heading("an update"),
    Heading("all-reduce", rank=2),
    Heading("fixed epochs"),
    Heading("by the noise scale", rank=1),
    Heading("full regime"),
)


def print_outlook(console: Console, outlook: Outlook) -> None:
    """The conclusions, the best number of devices at each batch size, and what that rests on."""
    for sentence in outlook.conclusion:
        say(console, Text.assemble(("- ", "bold"), sentence))
    console.print()
    if not outlook.scaled:
        return
    print_table(console, Table(_COLUMNS, tuple(map(_row, outlook.scaled))), "the best number of devices, and the time")
    console.print()
    for sentence in outlook.assumptions:
        say(console, Text.assemble(("assumes ", "yellow"), sentence))
    console.print()


def _row(one: ScaledBatch) -> tuple[TableCell, ...]:
    return (
        f"{one.batch_size:,}",
        f"{one.devices:,}",
        duration_text(one.update_seconds),
        f"{one.communication_share:.0%}",
        duration_text(one.fixed_epochs_seconds),
        ABSENT if one.noise_scale_seconds is None else duration_text(one.noise_scale_seconds),
        duration_text(one.regime_seconds),
    )


def outlook_body(outlook: Outlook) -> dict[str, Any]:
    """The outlook as a part of the plan's JSON object: its record's fields."""
    from lbadvisor.cli.display.json_body import json_of

    return json_of(outlook)
