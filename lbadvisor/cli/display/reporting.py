"""A comparison's report: what it is drawn from, read from the store, and where it is written."""

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lbadvisor.errors import UsageError
from lbadvisor.report.writing import PAGE_MARK, PICTURE_MARK, check_target

if TYPE_CHECKING:
    from lbadvisor.comparison.comparison import Comparison
    from lbadvisor.records.run import Run
    from lbadvisor.report.contents import GroupPlan, GroupRecipe, Report
    from lbadvisor.store import Store


def check_reports(html: Path | None, png: Path | None) -> None:
    """Raise, before any work, if a report could not be written: see `report.writing.check_target`.

    Raises `UsageError` for one file of both kinds.
    """
    if html is not None and html == png:
        raise UsageError(f"--html and --png name the same file, {html}: give each its own")
    if html is not None:
        check_target(html, PAGE_MARK)
    if png is not None:
        if png.suffix.lower() != ".png":
            raise UsageError(f"--png {png}: give a file name that ends in .png")
        check_target(png, PICTURE_MARK)


def write_reports(store: "Store", comparison: "Comparison", html: Path | None, png: Path | None) -> None:
    """Write the comparison's page and its picture, those that have a path, and say so on stderr.

    Raises `UsageError` if another file is in the way and
    `LbadvisorError` if one cannot be written.
    """
    from rich.text import Text

    from lbadvisor.cli.display.console import say, stderr

    if html is None and png is None:
        return
    report = report_of(store, comparison, (command_line(),))
    if html is not None:
        from lbadvisor.report.page import write_page

        say(stderr(), Text(written(html, write_page(html, report))))
    if png is not None:
        from lbadvisor.report.picture import write_picture

        say(stderr(), Text(written(png, write_picture(png, report))))


def command_line() -> str:
    """The command that runs, as a shell reads it."""
    return shlex.join(["lbadvisor", *sys.argv[1:]])


def written(path: Path, size_bytes: int) -> str:
    """The line that says so."""
    return f"{path}: {size_bytes / 1e6:.1f} MB written"


def report_of(store: "Store", comparison: "Comparison", commands: Sequence[str]) -> "Report":
    """What the comparison's report is drawn from: its curves, plans and recipes, read from the store."""
    from lbadvisor.report.contents import Report
    from lbadvisor.report.curves import group_curves, points_per_curve

    groups = comparison.groups
    runs = {number: store.run(str(number)) for group in groups for number in group.runs}
    points = points_per_curve(len(groups))
    return Report(
        title=_title(comparison),
        comparison=comparison,
        curves=tuple(group_curves(group.label, list(store.columns_of(group.runs)), points) for group in groups),
        plans=tuple(_plans(store, comparison, runs)),
        recipes=tuple(_recipes(comparison, runs)),
        commands=tuple(commands),
        environments=tuple(dict.fromkeys(run.environment for run in runs.values())),
    )


def _title(comparison: "Comparison") -> str:
    names = ", ".join(dict.fromkeys(run.recipe for run in comparison.runs))
    sizes = sorted({run.batch_size for run in comparison.runs})
    batches = f"batch {sizes[0]}" if len(sizes) == 1 else f"batch {sizes[0]} to {sizes[-1]}"
    return f"{names}, {batches}: {len(comparison.runs)} runs in {len(comparison.groups)} groups"


def _plans(store: "Store", comparison: "Comparison", runs: dict[int, "Run"]) -> "Iterator[GroupPlan]":
    """Each plan once, with the groups that were trained by it, in the order of the groups."""
    from lbadvisor.planning.plan import plan_of_json
    from lbadvisor.report.contents import GroupPlan

    labels: dict[int, dict[str, None]] = {}
    for group in comparison.groups:
        for number in group.runs:
            if (plan_number := runs[number].plan_number) is not None:
                labels.setdefault(plan_number, {})[group.label] = None
    for plan_number, named in labels.items():
        plan = plan_of_json(store.plan_json(plan_number))
        yield GroupPlan(tuple(named), plan.adjustments, plan.warnings)


def _recipes(comparison: "Comparison", runs: dict[int, "Run"]) -> "Iterator[GroupRecipe]":
    from lbadvisor.recipe.file import dump_recipe
    from lbadvisor.report.contents import GroupRecipe

    taken: set[str] = set()
    for place, group in enumerate(comparison.groups, start=1):
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", group.label).strip("-.")
        if not stem or stem.lower() in taken:
            stem = f"{stem or 'group'}-{place}"
        taken.add(stem.lower())
        members = [runs[number] for number in group.runs]
        commands = (
            f"lbadvisor train {stem}.toml --seed {run.seed} --name {shlex.quote(f'{run.name}-again')}"
            for run in members
        )
        yield GroupRecipe(group.label, f"{stem}.toml", dump_recipe(members[0].recipe), tuple(commands))
