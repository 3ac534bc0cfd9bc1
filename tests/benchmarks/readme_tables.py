"""The tables of README's section on speed, made from the figures that tables.py measured. No torch."""

import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lbadvisor.comparison.intervals import mean_of

BEGIN, END = "<!-- speed: made by tests/benchmarks/tables.py -->", "<!-- end of speed -->"

Measured = Mapping[str, Any]
"""One `Figures` as JSON holds it."""


def markdown(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """All tables, of the parts that were measured."""
    by_part = {name: part["figures"] for name, part in parts.items()}
    made = (_machine(parts), _loops(by_part), _pairs(by_part), _layers(by_part), _beside(by_part), _others(by_part))
    return "\n\n".join(table for table in made if table) + "\n"


def inserted(readme: str, tables: str) -> str:
    """The README with the tables between its two marks."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{tables}{END}{rest.split(END)[1]}"


def _machine(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Where and when it was measured, once for all parts that share it."""
    shared: dict[str, list[str]] = {}
    for name, part in parts.items():
        facts = part["machine"]
        programs = ", ".join(
            f"{key} {facts[key]}" for key in ("python", "torch", "lightning", "accelerate") if facts[key]
        )
        here = f"{facts['cpu']}, {facts['threads']} threads, {programs}, {facts['date']}"
        shared.setdefault(here, []).append(name)
    text = "; ".join(here if len(shared) == 1 else f"{', '.join(names)}: {here}" for here, names in shared.items())
    return (
        textwrap.fill(
            f"{text}. Made by `python tests/benchmarks/tables.py`: medians and ranges over n rounds in which the "
            "contestants, each in a process of its own, take turns; images are random, of the data set's shape.",
            120,
        )
        if parts
        else ""
    )


def _loops(by_part: Mapping[str, Sequence[Measured]]) -> str:
    """Our loop beside those of others: one row a training."""
    races = [race for part in ("f1", "resnet44") for race in by_part.get(part, ())]
    names = list(dict.fromkeys(name for race in races for name in race["values"] if name != "ours"))
    rows = [
        (
            race["what"],
            _range(race["values"].get("ours")),
            *(_over(race["values"], name, "ours") for name in names),
            _rounds(race),
        )
        for race in races
    ]
    table = _table(("an update of", "ours, ms", *names, "n"), rows)
    return table and f"{LEGEND}\n\n{table}"


LEGEND = """How many times as fast as each of the others our loop is: the other's time over ours, in the same round. By
hand is plain torch with the data in memory. The usual script, Lightning and Accelerate read single examples through a
`DataLoader` with transforms; from memory, they get the batches of the loop by hand. For the products (or convolutions)
alone, the number is their share of our time."""


def _pairs(by_part: Mapping[str, Sequence[Measured]]) -> str:
    """Two ways of the same training: one row a pair."""
    races = [race for part in ("ghost", "large", "memory", "bf16") for race in by_part.get(part, ())]
    rows = []
    for race in races:
        if len(race["values"]) < 2:
            rows.append((race["what"], "not measured:", "; ".join(race["missing"].values()), "", "", ""))
            continue
        first, second = race["values"]
        times = _over(race["values"], second, first)
        rows.append((race["what"], first, _range(race["values"][first]), second, times, _rounds(race)))
    return _table(("an update of", "with", "ms", "against", "times as fast", "n"), rows)


def _layers(by_part: Mapping[str, Sequence[Measured]]) -> str:
    """The layer's time over that of nn.BatchNorm on the same tensor and as busy a machine."""
    rows = []
    for race in by_part.get("layer", ()):
        values = race["values"]
        cells = [
            _over(values, name, "nn.BatchNorm" + beside)
            for beside in ("", BESIDE_ONE)
            for name in ("slices" + beside, "interleaved" + beside)
        ]
        rows.append((race["what"], *cells, _rounds(race)))
    heads = ("slices, idle", "interleaved, idle", "slices, beside a busy process", "interleaved, beside one")
    return _table(("ghosts of 128: time over `nn.BatchNorm`'s", *heads, "n"), rows)


BESIDE_ONE = ", beside one"


def _beside(by_part: Mapping[str, Sequence[Measured]]) -> str:
    """How much longer an update takes beside busy processes."""
    rows = []
    for race in by_part.get("busy", ()):
        values = race["values"]
        rows.append(
            (race["what"], _range(values.get("idle")), *(_over(values, name, "idle") for name in BUSY), _rounds(race))
        )
    return _table(("an update of", "idle, ms", *(f"{name}, times as long" for name in BUSY), "n"), rows)


BUSY = ("beside one busy process", "beside two")


def _others(by_part: Mapping[str, Sequence[Measured]]) -> str:
    """All that is no race: one row a number."""
    rows = [
        (f"{found['what']}, {name}" if name else found["what"], f"{_range(values)} {found['unit']}", str(len(values)))
        for part in ("start", "overhead", "compare")
        for found in by_part.get(part, ())
        for name, values in found["values"].items()
    ]
    for found in by_part.get("accuracy", ()):
        what, values = found["what"], dict(found["values"])
        if len(values) == 2:
            values["difference"] = [b - a for a, b in zip(*values.values(), strict=False)]
        rows += [
            (f"{what}, {name}", f"{mean_of(its).text('.2f', '95% ')} {found['unit']}", str(len(its)))
            for name, its in values.items()
        ]
    return _table(("", "", "n"), rows)


def _over(values: Mapping[str, Sequence[float]], name: str, of: str) -> str:
    """The median and range of the rounds' ratios."""
    if name not in values or of not in values:
        return "-"
    return _range([a / b for a, b in zip(values[name], values[of], strict=False)])


def _range(values: Sequence[float] | None) -> str:
    if not values:
        return "-"
    middle, low, high = statistics.median(values), min(values), max(values)
    digits = ".2f" if abs(middle) < 100 else ",.0f"
    return f"{middle:{digits}} ({low:{digits}} to {high:{digits}})"


def _rounds(race: Measured) -> str:
    return str(max((len(values) for values in race["values"].values()), default=0))


def _table(heads: Iterable[str], rows: Sequence[Sequence[str]]) -> str:
    heads = tuple(heads)
    if not rows:
        return ""
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
