"""A plan as tables on stdout."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.text import Text

from lbadvisor.cli.display.console import say, stdout
from lbadvisor.cli.display.table import Heading, Table, TableCell, print_table
from lbadvisor.planning.adjustments import Adjustment
from lbadvisor.planning.caveat import Caveat
from lbadvisor.planning.explanation import topic_of
from lbadvisor.planning.forecast import Option
from lbadvisor.planning.numbers_plan import NumbersPlan
from lbadvisor.records.numerals import duration_text, value_text

if TYPE_CHECKING:
    from lbadvisor.records.diagnosis import Diagnosis

DIFFUSION = "diffusion: how far the steps' noise carries the weights, as a multiple of the baseline:"
PRICED = {
    "nothing": "the gradient's variance times (learning rate)^2, summed over the updates. The square-root rule with "
    "the regime keeps it as long as the batch is a small part of the data.",
    "average": "(learning rate)^2, summed over the updates, as the optimizer divides the gradient by its size. The "
    "square-root rule at fixed epochs keeps it while noise dominates.",
    "sum": "not known for this optimizer.",
}
"""How diffusion is priced, by what the optimizer divides the gradient by."""


def print_plan(plan: NumbersPlan, further: "Sequence[Diagnosis]", note: str | None, name: str, *, chart: bool) -> None:
    """The adjustments, each with rule, formula, source and validity; the alternatives' price; the warnings.

    `further` says which alternative saves time, or how ranks share a batch; `note`, what else would save time. `name`
    is the recipe's, if there is one.
    """
    console = stdout()
    size = next(line for line in plan.adjustments if line.field == "batch.size")
    say(
        console,
        f"[bold]{escape(f'{name}: ' if name else '')}batch {value_text(size.before)} -> "
        f"{value_text(size.after)}[/bold], "
        f"ratio r = {plan.batch_ratio:,.6g}",
    )
    console.print()
    told = [line for line in plan.adjustments if not (line.before is None and line.after is None)]
    for table in (_adjustments(told), _notes(told), _forecast(plan.forecast)):
        print_table(console, table)
        console.print()
    say(console, f"{DIFFUSION} {PRICED[_divides_by(plan.forecast)]}")
    console.print()
    for diagnosis in further:
        from lbadvisor.cli.display.diagnosis_display import print_diagnosis

        print_diagnosis(console, diagnosis, chart=chart)
        console.print()
    for caveat in plan.warnings:
        say(console, caveat_text(caveat))
    if note is not None:
        say(console, Text.assemble(("note ", "cyan"), ("bf16", "bold"), f": {note}"))
    topics = dict.fromkeys(topic_of(line) for line in told if line.before != line.after)
    say(console, f"half a page on a line: lbadvisor explain {' | '.join(topics)}")


def caveat_text(caveat: Caveat, arms: Sequence[str] = ()) -> Text:
    """A warning of a plan; in a ladder with the arms that it is about."""
    of_arms = f" ({', '.join(arms)})" if arms else ""
    return Text.assemble(("warning ", "yellow"), (caveat.code, "bold"), f"{of_arms}: {caveat.message}")


def planned_text(line: Adjustment) -> str:
    """Old -> new."""
    return f"{value_text(line.before, 'none')} -> {value_text(line.after, 'none')}"


def _adjustments(lines: Sequence[Adjustment]) -> Table:
    columns = (
        Heading(""),
        Heading("", "name"),
        Heading("old"),
        Heading("new"),
        Heading("unit", "name", rank=3),
        Heading("rule", "prose", rank=1),
        Heading("formula", "prose", rank=2),
    )
    rows = tuple(
        (
            str(number),
            line.field,
            value_text(line.before, "none"),
            Text(value_text(line.after, "none"), style="bold" if line.before != line.after else "dim"),
            line.unit,
            line.rule,
            line.formula,
        )
        for number, line in enumerate(lines, start=1)
    )
    return Table(columns, rows)


def _notes(lines: Sequence[Adjustment]) -> Table:
    """Source and validity, once for all the lines that share them."""
    shared: dict[tuple[str, str], list[int]] = {}
    for number, line in enumerate(lines, start=1):
        shared.setdefault((line.source, line.validity), []).append(number)
    rows = tuple((", ".join(map(str, numbers)), source, validity) for (source, validity), numbers in shared.items())
    return Table((Heading("line"), Heading("source", "prose"), Heading("known to hold", "prose")), rows)


def _divides_by(choices: Sequence[Option]) -> str:
    if choices[0].diffusion is None:
        return "sum"
    return "nothing" if choices[0].beta2 is None else "average"


def _forecast(choices: Sequence[Option]) -> Table:
    betas = [name for name in ("beta1", "beta2") if getattr(choices[0], name) is not None]
    columns = (
        Heading("what it costs", "name"),
        Heading("lr", rank=1),
        *(Heading(name, rank=4) for name in betas),
        Heading("updates"),
        Heading("epochs", rank=4),
        Heading("examples"),
        Heading("diffusion", rank=3),
        *((Heading("time"), Heading("of the baseline's", rank=2)) if choices[0].seconds_factor is not None else ()),
    )
    return Table(columns, tuple(_priced(choice, betas) for choice in choices))


def _priced(choice: Option, betas: Sequence[str]) -> tuple[TableCell, ...]:
    return (
        Text(("> " if choice.chosen else "  ") + choice.name, style="bold" if choice.chosen else ""),
        _absolute(choice.lr, choice.lr_factor),
        *(value_text(getattr(choice, name)) for name in betas),
        _absolute(choice.updates, choice.updates_factor),
        _absolute(choice.epochs, choice.epochs_factor),
        _absolute(choice.examples, choice.epochs_factor),
        "unknown" if choice.diffusion is None else _absolute(None, choice.diffusion),
        *(() if choice.seconds_factor is None else _timed(choice)),
    )


def _timed(choice: Option) -> tuple[str, str]:
    return (
        _ranged(choice.seconds, choice.seconds_low, choice.seconds_high, duration_text),
        _ranged(choice.seconds_factor, choice.seconds_factor_low, choice.seconds_factor_high, "{:.3g}".format),
    )


def _ranged(middle: float | None, low: float | None, high: float | None, form: Callable[[float], str]) -> str:
    if middle is None:
        return "unknown"
    return form(middle) + ("" if low is None or high is None else f" ({form(low)} to {form(high)})")


def _absolute(value: float | None, factor: float) -> str:
    """The value, or what the baseline's is multiplied by if that is not known."""
    return f"x {factor:,.4g}" if value is None else value_text(value)
