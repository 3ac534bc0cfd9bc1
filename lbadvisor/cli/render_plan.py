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
    console.print(f"[dim]{_diffusion_text(plan.forecast)}[/dim]", soft_wrap=True)
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
    averages = [name for name in ("beta1", "beta2") if getattr(choices[0], name) is not None]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("what it costs", "lr", *averages, "updates", "epochs", "examples", "diffusion"):
        table.add_column(heading, justify="left" if heading == "what it costs" else "right")
    for choice in choices:
        table.add_row(
            Text(("> " if choice.chosen else "  ") + choice.name, style="bold" if choice.chosen else ""),
            _times(choice.lr_factor) if choice.lr is None else number_text(choice.lr),
            *(f"{getattr(choice, name):.4g}" for name in averages),
            number_text(choice.updates) if absolute else _times(choice.updates_factor),
            _times(choice.epochs_factor) if choice.epochs is None else number_text(choice.epochs),
            number_text(choice.examples) if absolute else _times(choice.epochs_factor),
            "unknown" if choice.diffusion is None else _times(choice.diffusion),
        )
    return table


def _times(factor: float) -> str:
    return f"x {factor:.4g}"


def _diffusion_text(choices: tuple[Option, ...]) -> str:
    """What the table's last column is, in a sentence."""
    known = (
        "updates * lr^2 * the gradient's variance, kept by the paper's rule if the batch is a small part of the data"
    )
    if choices[0].beta2 is not None:
        known = "updates * lr^2, as long as noise rules"
    if choices[0].diffusion is None:
        known = "no formula is known for this optimizer"
    return f"diffusion: how far noise alone moves the weights (the summed variance of their steps): {known}"


def number_text(value: Value) -> str:
    """A value of a plan as people read it."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return " ".join(number_text(part) for part in value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"
