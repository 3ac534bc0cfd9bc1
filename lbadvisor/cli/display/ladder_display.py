"""What `lbadvisor ladder` shows: what each arm changes and costs, how far all of it is, how each run ended."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as ProgressBar
from rich.text import Text

from lbadvisor.cli.display.console import say, stderr, stdout
from lbadvisor.cli.display.measured import accuracy_text, facts_of, measured_text
from lbadvisor.cli.display.render_plan import caveat_text, planned_text
from lbadvisor.cli.display.table import Heading, Table, TableCell, print_table
from lbadvisor.cli.display.train_display import PLAIN_LINE_SECONDS, Display, TimeLeft, images_text
from lbadvisor.comparison.results import is_evaluated
from lbadvisor.plan.arms import PlannedArm, changes, foundation
from lbadvisor.plan.caveats import Caveat
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import epochs_of
from lbadvisor.records.quantities import LOSS, SECONDS
from lbadvisor.records.run import Measurement, RunStatus

if TYPE_CHECKING:
    from lbadvisor.runs.ladder import PlannedRun, RunBegins, RunEnds, Waits
    from lbadvisor.runs.runner import Progress
    from lbadvisor.training.data.dataset import Preparing

WIDE_TERMINAL = 130
"""Columns from which on all that is known of a measurement stands beside the bar."""


class ShowsLadder(Protocol):
    """What a ladder's events are shown on."""

    def prepare(self, event: "Preparing") -> None:
        """The data set is made ready."""

    def begin(self, event: "RunBegins") -> None:
        """A run starts or resumes."""

    def advance(self, event: "Progress") -> None:
        """One update was made."""

    def end(self, event: "RunEnds", measurements: Sequence[Measurement]) -> None:
        """A run has its result."""

    def wait(self, event: "Waits") -> None:
        """Other processes train the runs that are left."""


class LadderDisplay:
    """The messages of one `ladder` command, to stderr; none if quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._waited_for = quiet, 0
        self.of_runs = Display(quiet=quiet)
        self.console = stderr()

    def say(self, text: str) -> None:
        """One message."""
        if not self._quiet:
            say(self.console, text)

    def show_plan(self, name: str, baseline: Recipe, target: int, arms: Sequence[PlannedArm], *, dry_run: bool) -> None:
        """What each arm changes and what it costs; to stdout where that is all that is asked for."""
        if dry_run:
            _print_plan(stdout(), name, baseline, target, arms)
        elif not self._quiet:
            _print_plan(self.console, name, baseline, target, arms)

    def show_known(self, runs: Sequence["PlannedRun"]) -> None:
        """How much of the ladder is already done."""
        done = sum(run.is_done for run in runs)
        begun = [run.name for run in runs if run.run is not None and not run.is_done]
        words = [f"{done} of {len(runs)} runs are already done"] if done else []
        words += [f"already started: {', '.join(begun)}"] if begun else []
        if words:
            self.say(escape("; ".join(words)))

    def show_begin(self, event: "RunBegins") -> None:
        """Notes about a run that starts, and where one resumes."""
        for note in event.started.notes:
            self.of_runs.show_note(note)
        if event.started.update:
            where = f"resuming from update {event.started.update} of {event.planned.arm.updates}"
            self.say(f"{_title(event.planned)}: {where}")

    def show_stop(self, signal_name: str, planned: "PlannedRun | None", update: int | None, done: int, of: int) -> None:
        """How to resume; `update` is the last one made in the run, None if none was."""
        where = "no update was made"
        if planned is not None and update is not None:
            where = f"saved [bold]{escape(planned.name)}[/bold] at update {update} of {planned.arm.updates}"
        self.say(f"{signal_name}: {where}; {done} of {of} runs are done; the same command resumes from there")

    def show_interruption(self, planned: "PlannedRun | None", done: int, of: int) -> None:
        """How to resume after a second Ctrl-C."""
        where = "" if planned is None else f"; {escape(planned.name)} will resume from its last checkpoint"
        self.say(f"stopped at once: {done} of {of} runs are done{where}; the same command resumes the ladder")

    @contextmanager
    def progress(self, runs: Sequence["PlannedRun"]) -> Iterator[ShowsLadder]:
        """Two bars on a terminal, one of them of all the runs; plain lines elsewhere, nothing if quiet."""
        if self._quiet:
            yield _Silent()
        elif self.console.is_terminal:
            bars = _Bars(self, runs)
            with bars.bar:
                yield bars
        else:
            yield _Lines(self, runs)

    def show_wait(self, event: "Waits") -> None:
        """What is waited for, once."""
        if event.runs != self._waited_for:
            self._waited_for = event.runs
            what = "the last run" if event.runs == 1 else f"the last {event.runs} runs"
            self.say(f"waiting for {what}: another process trains {'it' if event.runs == 1 else 'them'}")

    def show_end(self, event: "RunEnds", measurements: Sequence[Measurement], done: int, of: int) -> None:
        """How a run ended, in a line; and what there is to warn of, where it was trained just now."""
        self.say(escape(f"{done:>{len(str(of))}}/{of} {_title(event.planned)}: {_ended(event, measurements)}"))
        if not event.was_there:
            self.of_runs.show_clipping(event.run, measurements)


def _title(planned: "PlannedRun") -> str:
    return f"{planned.arm.arm.name} s{planned.seed}"


def _ended(event: "RunEnds", measurements: Sequence[Measurement]) -> str:
    run = event.run
    there = f" (reused: {run.name})" if event.was_there else ""
    if run.status is RunStatus.DIVERGED:
        return f"diverged at update {run.update} of {run.updates}{there}"
    text = f"{run.updates:,} updates"
    evaluated = [m for m in measurements if is_evaluated(m)]
    if evaluated:
        text += f",{accuracy_text(evaluated[-1])}, {measured_text(SECONDS, evaluated[-1])} s"
    return text + there


def _print_plan(console: Console, name: str, baseline: Recipe, target: int, arms: Sequence[PlannedArm]) -> None:
    runs = sum(arm.seeds for arm in arms)
    say(
        console,
        f"[bold]{escape(name)}[/bold]: {escape(baseline.model.name)} on {escape(baseline.data.name)}, batch "
        f"{baseline.batch.size:,} -> {target:,}, {len(arms)} arms, {runs} runs",
    )
    by_name = {arm.arm.name: arm for arm in arms}
    for arm in arms:
        upon = foundation(arm.arm, list(by_name))
        lead = f"[bold]{arm.arm.name}[/bold], {arm.arm.label}" + ("" if upon is None else f", on top of {upon.name}")
        say(console, f"  {lead}: {escape(arm.arm.what)}")
        lines = changes(arm.plan, by_name[upon.name].plan if upon is not None else None)
        changed = [f"{line.field} {planned_text(line)}" for line in lines if line.kind == "recipe"]
        if changed:
            say(console, f"    [dim]{escape('; '.join(changed))}[/dim]")
    print_table(console, _costs(baseline, arms))
    warned: dict[Caveat, list[str]] = {}
    for arm in arms:
        for caveat in arm.plan.warnings if arm.plan is not None else ():
            warned.setdefault(caveat, []).append(arm.arm.name)
    for caveat, names in warned.items():
        say(console, caveat_text(caveat, names))


_COSTS = (
    Heading("  a run of", "name"),
    Heading("seeds"),
    Heading("updates"),
    Heading("epochs"),
    Heading("examples"),
    Heading("of all"),
)


def _costs(baseline: Recipe, arms: Sequence[PlannedArm]) -> Table:
    everything = sum(arm.examples * arm.seeds for arm in arms)
    rows: list[tuple[TableCell, ...]] = []
    for arm in arms:
        epochs = epochs_of(arm.updates, baseline.data.train_examples, arm.recipe.batch.size)
        share = arm.examples * arm.seeds / everything
        rows.append(
            (f"  {arm.arm.name}", f"{arm.seeds}", f"{arm.updates:,}", f"{epochs:,.4g}", f"{arm.examples:,}",
             f"{share:.0%}")
        )  # fmt: skip
    updates = sum(arm.updates * arm.seeds for arm in arms)
    runs = sum(arm.seeds for arm in arms)
    total = ("  all runs", f"{runs}", f"{updates:,}", "", f"{everything:,}", "")
    rows.append(tuple(Text(cell, style="bold") for cell in total))
    return Table(_COSTS, tuple(rows))


class _Silent:
    def prepare(self, event: "Preparing") -> None:
        pass

    def begin(self, event: "RunBegins") -> None:
        pass

    def advance(self, event: "Progress") -> None:
        pass

    def end(self, event: "RunEnds", measurements: Sequence[Measurement]) -> None:
        pass

    def wait(self, event: "Waits") -> None:
        pass


class _Bars:
    """One bar of all the runs, by the examples that they see, and one of the run in training."""

    def __init__(self, display: LadderDisplay, runs: Sequence["PlannedRun"]) -> None:
        self._display, self._runs, self._done = display, runs, 0
        self.bar = ProgressBar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}"),
            TimeLeft(),
            TextColumn("{task.fields[facts]}"),
            console=display.console,
            transient=True,
        )
        total = sum(run.arm.examples for run in runs)
        self._all = self.bar.add_task("ladder", total=total, count=self._count(), facts="")
        self._task: TaskID | None = None
        self._preparing: dict[str, TaskID] = {}
        self._behind = 0

    def _count(self) -> str:
        return f"{self._done}/{len(self._runs)} runs"

    def prepare(self, event: "Preparing") -> None:
        if event.task not in self._preparing:
            self._preparing[event.task] = self.bar.add_task(escape(event.task), total=None, count="", facts="")
        count = images_text(event)
        self.bar.update(self._preparing[event.task], completed=event.done, total=event.total, count=count)

    def begin(self, event: "RunBegins") -> None:
        for task in self._preparing.values():
            self.bar.remove_task(task)
        self._preparing.clear()
        self._display.show_begin(event)
        self._planned, self._accuracy = event.planned, ""
        updates = event.planned.arm.updates
        self._task = self.bar.add_task(
            _title(event.planned), total=updates, completed=event.started.update,
            count=f"{event.started.update}/{updates}", facts="",
        )  # fmt: skip
        self.bar.update(self._all, completed=self._behind + event.started.update * self._size)

    @property
    def _size(self) -> int:
        return self._planned.arm.recipe.batch.size

    def advance(self, event: "Progress") -> None:
        if self._task is None:
            return
        if event.note is not None:
            self._display.of_runs.show_note(event.note)
        count = f"{event.update}/{self._planned.arm.updates}"
        self.bar.update(self._task, completed=event.update, count=count)
        self.bar.update(self._all, completed=self._behind + event.update * self._size)
        if event.measurement is not None:
            self._accuracy = accuracy_text(event.measurement) or self._accuracy
            wide = self._display.console.width >= WIDE_TERMINAL
            facts = facts_of(event.measurement) if wide else f"loss {measured_text(LOSS, event.measurement)}"
            self.bar.update(self._task, facts=facts + self._accuracy)

    def end(self, event: "RunEnds", measurements: Sequence[Measurement]) -> None:
        if self._task is not None:
            self.bar.remove_task(self._task)
            self._task = None
        self._done += 1
        self._behind += event.planned.arm.examples
        self.bar.update(self._all, completed=self._behind, count=self._count())
        self._display.show_end(event, measurements, self._done, len(self._runs))

    def wait(self, event: "Waits") -> None:
        self._display.show_wait(event)


class _Lines:
    def __init__(self, display: LadderDisplay, runs: Sequence["PlannedRun"]) -> None:
        self._display, self._runs, self._done, self._shown = display, runs, 0, float("-inf")

    def prepare(self, event: "Preparing") -> None:
        now = time.monotonic()
        if now - self._shown >= PLAIN_LINE_SECONDS or event.done in (0, event.total):
            self._shown = now
            done = images_text(event)
            self._display.say(escape(f"{event.task}: {done}" if done else event.task))

    def begin(self, event: "RunBegins") -> None:
        self._planned, self._shown = event.planned, time.monotonic()
        self._display.show_begin(event)

    def advance(self, event: "Progress") -> None:
        if event.note is not None:
            self._display.of_runs.show_note(event.note)
        measurement, now = event.measurement, time.monotonic()
        if measurement is not None and now - self._shown >= PLAIN_LINE_SECONDS:
            self._shown = now
            where = f"{_title(self._planned)}: update {event.update}/{self._planned.arm.updates}"
            self._display.say(escape(f"{where} {facts_of(measurement)}"))

    def end(self, event: "RunEnds", measurements: Sequence[Measurement]) -> None:
        self._done += 1
        self._display.show_end(event, measurements, self._done, len(self._runs))

    def wait(self, event: "Waits") -> None:
        self._display.show_wait(event)
