"""A calibration as a table and as JSON."""

import dataclasses
import math
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lbadvisor.advisor.calibration import Calibration, exponent_text
from lbadvisor.cli.render_comparison import json_ready


def print_calibration(console: Console, found: Calibration) -> None:
    """The exponents of each window, and what they say."""
    console.print(
        f"[bold]{found.baseline}: batch {found.batch_size} -> {found.target_batch_size}[/bold], exponents by weight "
        f"distance and by gradient noise ({found.seconds:.1f} s, {found.share_percent:,.1f}% of the planned training)",
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("first updates", "weight distance", "noise, one update", "noise, same drift", "drift"):
        table.add_column(heading, justify="right")
    for window in found.windows:
        table.add_row(
            str(window.updates),
            Text(exponent_text(window.matched, found.exponents), style="bold"),
            exponent_text(window.one_update, found.exponents),
            exponent_text(window.coherent, found.exponents),
            "" if window.drift_share is None else f"{100 * window.drift_share:.2g}%",
        )
    console.print(table)
    console.print(Text(found.conclusion), soft_wrap=True)


def calibration_body(found: Calibration) -> dict[str, Any]:
    """The calibration as the documented JSON object: its record's fields; a distance that is not finite is null."""
    body = dataclasses.asdict(found, dict_factory=json_ready)
    for curve in body["curves"]:
        curve["distances"] = [d if math.isfinite(d) else None for d in curve["distances"]]
    return {"schema": 1} | body
