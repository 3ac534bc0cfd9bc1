"""What `lbadvisor ladder` shows: what each arm changes and costs, how far all of it is, how each run ended."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from lbadvisor.cli.display.console import say, stderr, stdout
from lbadvisor.cli.display.measured import accuracy_text, measured_text
from lbadvisor.cli.display.progress import ShowsSteps, Step, prepared
from lbadvisor.cli.display.render_plan import caveat_text, planned_text
from lbadvisor.cli.display.table import Heading, Table, TableCell, print_table
from lbadvisor.cli.display.train_display import Display, RunDisplay
from lbadvisor.comparison.results import is_evaluated
from lbadvisor.planning.arms import foundation
from lbadvisor.planning.caveat import Caveat
from lbadvisor.planning.planned_arms import LadderRequest, PlannedArm, changes
from lbadvisor.recipe.schedule import epochs_of
from lbadvisor.records.quantities import SECONDS
from lbadvisor.records.run import Measurement, RunStatus

if TYPE_CHECKING:
    from lbadvisor.runs.ladder import RunBegins, RunEnds, Waits
    from lbadvisor.runs.ladder_runs import PlannedRun
    from lbadvisor.runs.runner import Progress as UpdateMade
    from lbadvisor.store import Store
    from lbadvisor.training.data.dataset import Preparing


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

    def show_plan(self, requests: Sequence[LadderRequest], *, dry_run: bool) -> None:
        """What each arm changes and what all cost; to stdout if that is all that is asked for."""
        if dry_run:
            _print_plan(stdout(), requests)
        elif not self._quiet:
            _print_plan(self.console, requests)

    def show_known(self, runs: Sequence["PlannedRun"]) -> None:
        """How much of the ladder is already done."""
        done = sum(run.is_done for run in runs)
        begun = [run.name for run in runs if run.run is not None and not run.is_done]
        words = [f"{done} of {len(runs)} runs are already done"] if done else []
        words += [f"already started: {', '.join(begun)}"] if begun else []
        if words:
            self.say(escape("; ".join(words)))

    def show_stop(self, signal_name: str, shown: "LadderProgress", of: int) -> None:
        """How to resume."""
        where, planned, (update, updates) = "no update was made", shown.current, shown.position
        if planned is not None and update is not None:
            where = f"saved [bold]{escape(planned.name)}[/bold] at update {update} of {updates}"
        self.say(f"{signal_name}: {where}; {shown.done} of {of} runs are done; the same command resumes from there")

    def show_interruption(self, planned: "PlannedRun | None", done: int, of: int) -> None:
        """How to resume after a second Ctrl-C."""
        where = "" if planned is None else f"; {escape(planned.name)} will resume from its last checkpoint"
        self.say(f"stopped at once: {done} of {of} runs are done{where}; the same command resumes the ladder")

    @contextmanager
    def progress(self, store: "Store", runs: Sequence["PlannedRun"]) -> Iterator["LadderProgress"]:
        """Where the ladder's events are shown."""
        with self.of_runs.progress() as shown:
            yield LadderProgress(self, shown, store, runs)

    def show_wait(self, event: "Waits") -> None:
        """What is waited for, once."""
        if event.runs != self._waited_for:
            self._waited_for = event.runs
            what = "the last run" if event.runs == 1 else f"the last {event.runs} runs"
            self.say(f"waiting for {what}: another process trains {'it' if event.runs == 1 else 'them'}")

    def show_end(self, event: "RunEnds", measurements: Sequence[Measurement], title: str) -> None:
        """How a run ended, in a line; and what there is to warn of, where it was trained just now."""
        self.say(escape(f"{title}: {_ended(event, measurements)}"))
        if not event.was_there:
            self.of_runs.show_clipping(event.run, measurements)


def _arm_name(arm: PlannedArm, *, sized: bool) -> str:
    """The arm's name, with its batch size if several are trained, which all have one baseline."""
    return f"{arm.arm.name} {arm.recipe.batch.size}" if sized and arm.plan is not None else arm.arm.name


def _ended(event: "RunEnds", measurements: Sequence[Measurement]) -> str:
    run = event.run
    there = f" (reused: {run.name})" if event.was_there else ""
    if run.status is RunStatus.DIVERGED:
        return f"diverged at update {run.update} of {run.at_most}{run.updates}{there}"
    text = f"{run.updates:,} updates"
    evaluated = [m for m in measurements if is_evaluated(m)]
    if evaluated:
        text += f",{accuracy_text(evaluated[-1])}, {measured_text(SECONDS, evaluated[-1])} s"
    return text + there


def _print_plan(console: Console, requests: Sequence[LadderRequest]) -> None:
    warned: dict[Caveat, dict[str, None]] = {}
    sized = len(requests) > 1
    for request in requests:
        baseline, runs = request.baseline, sum(arm.seeds for arm in request.arms)
        say(
            console,
            f"[bold]{escape(request.name)}[/bold]: {escape(baseline.model.name)} on {escape(baseline.data.name)}, "
            f"batch {baseline.batch.size:,} -> {request.target_batch_size:,}, {len(request.arms)} arms, {runs} runs",
        )
        by_name = {arm.arm.name: arm for arm in request.arms}
        for arm in request.arms:
            upon = foundation(arm.arm, list(by_name))
            lead = f"[bold]{arm.arm.name}[/bold], {arm.arm.label}" + (
                "" if upon is None else f", on top of {upon.name}"
            )
            say(console, f"  {lead}: {escape(arm.arm.what)}")
            lines = changes(arm.plan, by_name[upon.name].plan if upon is not None else None)
            changed = [f"{line.field} {planned_text(line)}" for line in lines if line.kind == "recipe"]
            if changed:
                say(console, f"    [dim]{escape('; '.join(changed))}[/dim]")
            for caveat in arm.plan.warnings if arm.plan is not None else ():
                warned.setdefault(caveat, {})[_arm_name(arm, sized=sized)] = None
    print_table(console, _costs(requests))
    for caveat, names in warned.items():
        say(console, caveat_text(caveat, tuple(names)))


_COSTS = (
    Heading("  a run of", "name"),
    Heading("seeds"),
    Heading("updates"),
    Heading("epochs"),
    Heading("examples"),
    Heading("of all"),
)


def _costs(requests: Sequence[LadderRequest]) -> Table:
    """What one run of each arm costs, and all together; the baseline's runs once, for all of them."""
    sized = len(requests) > 1
    arms = {_arm_name(arm, sized=sized): arm for request in requests for arm in request.arms}
    everything = sum(arm.examples * arm.seeds for arm in arms.values())
    rows: list[tuple[TableCell, ...]] = []
    for name, arm in arms.items():
        epochs = epochs_of(arm.updates, requests[0].baseline.data.train_examples, arm.recipe.batch.size)
        share = arm.examples * arm.seeds / everything
        most = "≤ " if arm.is_by_distance else ""
        costs = (f"{most}{number}" for number in (f"{arm.updates:,}", f"{epochs:,.4g}", f"{arm.examples:,}"))
        rows.append((f"  {name}", f"{arm.seeds}", *costs, f"{share:.0%}"))
    most = "≤ " if any(arm.is_by_distance for arm in arms.values()) else ""
    updates = sum(arm.updates * arm.seeds for arm in arms.values())
    runs = sum(arm.seeds for arm in arms.values())
    total = ("  all runs", f"{runs}", f"{most}{updates:,}", "", f"{most}{everything:,}", "")
    rows.append(tuple(Text(cell, style="bold") for cell in total))
    return Table(_COSTS, tuple(rows))


class LadderProgress:
    """The events of ladders: a task of all the runs, by the examples that they see, and one of the run in training.

    `current` is that run, `update` its last one, and `done` of `runs` have their result.
    """

    def __init__(self, display: LadderDisplay, shown: ShowsSteps, store: "Store", runs: Sequence["PlannedRun"]) -> None:
        self._display, self._shown, self._store, self._runs = display, shown, store, runs
        self._total = sum(run.arm.examples for run in runs)
        self._sized = len({place.ladder for run in runs for place in run.places}) > 1
        self._behind, self.done = 0, 0
        self._run = RunDisplay(display.of_runs, shown, "")
        self.current: PlannedRun | None = None

    @property
    def position(self) -> tuple[int | None, int | None]:
        """The last update of the run in training, and its length; None if there is none."""
        return self._run.update, self._run.updates

    def show(self, event: "Preparing | RunBegins | UpdateMade | RunEnds | Waits") -> None:
        """Show the event."""
        from lbadvisor.runs.ladder import RunBegins, RunEnds, Waits
        from lbadvisor.training.data.dataset import Preparing

        match event:
            case Preparing():
                self._shown.show(prepared(event))
            case RunBegins():
                self.current = event.planned
                self._run = RunDisplay(self._display.of_runs, self._shown, self._title(event.planned))
                self._run.show(event.started)
                self._show_all(event.started.update * event.planned.arm.recipe.batch.size)
            case RunEnds():
                self._run.end()
                self.current, self.done = None, self.done + 1
                self._behind += event.planned.arm.examples
                self._show_all(0)
                measurements = self._store.measurements(event.run.number)
                of = len(self._runs)
                count = f"{self.done:>{len(str(of))}}/{of}"
                self._display.show_end(event, measurements, f"{count} {self._title(event.planned)}")
            case Waits():
                self._display.show_wait(event)
            case _:
                self._run.show(event)
                if self.current is not None and event.update < event.updates:
                    self._show_all(event.update * self.current.arm.recipe.batch.size)

    def _title(self, planned: "PlannedRun") -> str:
        return f"{_arm_name(planned.arm, sized=self._sized)} s{planned.seed}"

    def _show_all(self, of_run: int) -> None:
        count = f"{self.done}/{len(self._runs)} runs"
        self._shown.show(Step("ladder", self._behind + of_run, self._total, count))
