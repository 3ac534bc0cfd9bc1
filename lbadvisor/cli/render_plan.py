"""A plan as tables on stdout."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lbadvisor.advisor.adjustments import Adjustment, Value
from lbadvisor.advisor.caveats import Caveat
from lbadvisor.advisor.forecast import Option
from lbadvisor.advisor.plan import Plan
from lbadvisor.cli.console import stdout


def print_plan(plan: Plan) -> None:
    """The adjustments, each with rule, formula, source and validity; the alternatives' price; the warnings."""
    console = stdout()
    size = next(line for line in plan.adjustments if line.field == "batch.size")
    name = f"{plan.baseline.name}: " if plan.baseline else ""
    console.print(
        f"[bold]{escape(name)}batch {size.before} -> {size.after}[/bold], ratio r = {plan.batch_ratio:g}",
        soft_wrap=True,
    )
    console.print()
    for table in (_adjustments(plan.adjustments), _notes(plan.adjustments), _forecast(plan.forecast)):
        console.print(table)
        console.print()
    for caveat in plan.warnings:
        console.print(caveat_text(caveat))


def caveat_text(caveat: Caveat, arms: Sequence[str] = ()) -> Text:
    """A warning of a plan; in a ladder with the arms that it is about."""
    of_arms = f" ({', '.join(arms)})" if arms else ""
    return Text.assemble(("warning ", "yellow"), (caveat.code, "bold"), f"{of_arms}: {caveat.message}")


def _adjustments(lines: tuple[Adjustment, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("old", justify="right")
    table.add_column("new", justify="right")
    table.add_column("unit", no_wrap=True)
    table.add_column("rule")
    table.add_column("formula")
    for number, line in enumerate(lines, start=1):
        moved = line.before != line.after
        table.add_row(
            f"{number:>2} {line.field}",
            number_text(line.before),
            Text(number_text(line.after), style="bold" if moved else "dim"),
            line.unit,
            escape(line.rule),
            escape(line.formula),
        )
    return table


def _notes(lines: tuple[Adjustment, ...]) -> Table:
    """Source and validity, once for all the lines that share them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("line", justify="right", no_wrap=True)
    table.add_column("source")
    table.add_column("known to hold")
    shared: dict[tuple[str, str], list[int]] = {}
    for number, line in enumerate(lines, start=1):
        shared.setdefault((line.source, line.validity), []).append(number)
    for (source, validity), numbers in shared.items():
        table.add_row(",".join(map(str, numbers)), escape(source), escape(validity))
    return table


def _forecast(choices: tuple[Option, ...]) -> Table:
    absolute = choices[0].updates is not None
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("what it costs", "lr", "updates", "epochs", "examples", "diffusion"):
        table.add_column(heading, justify="left" if heading == "what it costs" else "right")
    for choice in choices:
        examples_factor = choice.epochs_factor
        table.add_row(
            Text(("> " if choice.chosen else "  ") + choice.name, style="bold" if choice.chosen else ""),
            f"x {choice.lr_factor:.4g}" if choice.lr is None else f"{choice.lr:.6g}",
            f"{choice.updates:,}" if absolute and choice.updates is not None else f"x {choice.updates_factor:.4g}",
            f"x {choice.epochs_factor:.4g}" if choice.epochs is None else f"{choice.epochs:.6g}",
            f"{choice.examples:,}" if choice.examples is not None else f"x {examples_factor:.4g}",
            f"x {choice.diffusion:.4g}",
        )
    return table


def number_text(value: Value) -> str:
    """A value of a plan as people read it."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return " ".join(str(v) for v in value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
