"""A calibration as a table."""

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from lbadvisor.cli.display.console import say
from lbadvisor.cli.display.table import Heading, Table, print_table
from lbadvisor.diagnostics.calibration.calibration import Calibration, exponent_text
from lbadvisor.planning.noise_scale import noise_scale_text

_COLUMNS = (
    Heading("first updates"),
    Heading("weight distance"),
    Heading("noise, one update", rank=2),
    Heading("noise, same drift", rank=1),
    Heading("drift", rank=3),
    Heading("noise scale", rank=4),
)


def print_calibration(console: Console, found: Calibration) -> None:
    """The exponents of each window, and what they say."""
    say(
        console,
        f"[bold]{escape(found.baseline)}: batch {found.batch_size:,} -> {found.target_batch_size:,}[/bold], exponents "
        f"by weight distance and by gradient noise ({found.seconds:,.1f} s, {found.share_percent:,.1f}% of the planned "
        "training)",
    )
    rows = tuple(
        (
            f"{window.updates:,}",
            Text(exponent_text(window.matched, found.exponents), style="bold"),
            exponent_text(window.one_update, found.exponents),
            exponent_text(window.coherent, found.exponents),
            "" if window.drift_share is None else f"{100 * window.drift_share:.2g}%",
            noise_scale_text(window.noise_scale),
        )
        for window in found.windows
    )
    print_table(console, Table(_COLUMNS, rows))
    say(console, Text(found.conclusion))
