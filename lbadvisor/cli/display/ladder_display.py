"""What `lbadvisor ladder` shows: what each arm changes and costs, how far all of it is, how each run ended."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from lbadvisor.errors import LbadvisorError
from lbadvisor.planning.arms import foundation
from lbadvisor.planning.caveat import Caveat
from lbadvisor.planning.planned_arms import LadderRequest, PlannedArm, changes
from lbadvisor.recipe.schedule import epochs_of
from lbadvisor.records.quantities import SECONDS
from lbadvisor.records.run import Measurement, Run, RunStatus

if TYPE_CHECKING:
    from lbadvisor.runs.ladder import RunEnds, Waits
    from lbadvisor.runs.ladder_runs import PlannedRun
    from lbadvisor.store import Store


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

    def show_stop(self, signal_name: str | None, stopped: Sequence[Run], done: int, of: int) -> None:
        """How to resume the runs that were stopped; without a name after a second Ctrl-C."""
        names = ", ".join(run.name for run in stopped)
        if signal_name is None:
            where = f"; {escape(names)} will resume from {'its' if len(stopped) == 1 else 'their'} last checkpoint"
            text = f"stopped at once: {done} of {of} runs are done{where if stopped else ''}"
            self.say(f"{text}; the same command resumes the ladder")
            return
        saved = [f"[bold]{escape(run.name)}[/bold] at update {run.update} of {run.updates}" for run in stopped]
        where = f"saved {', '.join(saved)}" if saved else "no update was made"
        self.say(f"{signal_name}: {where}; {done} of {of} runs are done; the same command resumes from there")

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

    def show_end(self, run: Run, measurements: Sequence[Measurement], title: str, *, was_there: bool) -> None:
        """How a run ended, in a line; and what there is to warn of, where it was trained just now."""
        self.say(escape(f"{title}: {_ended(run, measurements)}{f' (reused: {run.name})' if was_there else ''}"))
        if not was_there:
            self.of_runs.show_clipping(run, measurements)


def _arm_name(arm: PlannedArm, *, sized: bool) -> str:
    """The arm's name, with its batch size if several are trained, which all have one baseline."""
    return f"{arm.arm.name} {arm.recipe.batch.size}" if sized and arm.plan is not None else arm.arm.name


def _ended(run: Run, measurements: Sequence[Measurement]) -> str:
    if run.status is RunStatus.DIVERGED:
        return f"diverged at update {run.update} of {run.at_most}{run.updates}"
    text = f"{run.updates:,} updates"
    evaluated = [m for m in measurements if is_evaluated(m)]
    if evaluated:
        text += f",{accuracy_text(evaluated[-1])}, {measured_text(SECONDS, evaluated[-1])} s"
    return text


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


@dataclass(slots=True)
class _InTraining:
    """A job's run, and where its events are shown; it has come to `update`."""

    planned: "PlannedRun"
    shown: RunDisplay
    update: int

    @property
    def examples(self) -> int:
        return min(self.update * self.planned.arm.recipe.batch.size, self.planned.arm.examples)


class LadderProgress:
    """The events of ladders, of one job or several: a task of all the runs, by the examples that they see, and one for
    each run in training.

    `begun` are the names of the runs that were trained, `failed` the errors of those that failed, by their names.
    """

    def __init__(self, display: LadderDisplay, shown: ShowsSteps, store: "Store", runs: Sequence["PlannedRun"]) -> None:
        self._display, self._shown, self._store, self._runs = display, shown, store, runs
        self._sized = len({place.ladder for run in runs for place in run.places}) > 1
        self._done: dict[str, int] = {}
        self._there = {run.name for run in runs if run.is_done}
        self._at: dict[int, _InTraining] = {}
        self.begun: set[str] = set()
        self.failed: dict[str, LbadvisorError] = {}

    def show(self, told: tuple[int, Any]) -> None:
        """Show the event of a job."""
        from lbadvisor.runs.jobs import JobBegins, JobEnds, Silence
        from lbadvisor.runs.ladder import RunBegins, RunEnds, RunFails, Waits
        from lbadvisor.training.data.dataset import Preparing

        job, event = told
        match event:
            case Preparing():
                self._shown.show(prepared(event))
            case RunBegins(planned=planned, started=started):
                for other in [number for number, one in self._at.items() if one.planned.name == planned.name]:
                    self._leave(other, planned)  # which is lost
                shown = RunDisplay(self._display.of_runs, self._shown, self._title(planned))
                self._at[job] = _InTraining(planned, shown, started.update)
                self.begun.add(planned.name)
                shown.show(started)
                self._show_all()
            case RunEnds():
                self._leave(job, event.planned)
                self._end(event)
            case RunFails(planned=planned, error=error):
                self._leave(job, planned)
                if planned.name not in self.failed:
                    self.failed[planned.name] = error
                    self._display.say(f"[red]failed[/red] {escape(f'{self._title(planned)}: {error}')}")
            case Waits():
                if not self._at:  # jobs wait for one another
                    self._display.show_wait(event)
            case JobBegins():
                if job in self._at:
                    self._at.pop(job).shown.end()
                self._display.of_runs.show_begun(job, event)
            case JobEnds(outcome=outcome):
                lost = self._at.pop(job, None)
                if lost is not None:
                    lost.shown.end()
                self._display.of_runs.show_lost(job, outcome, None if lost is None else lost.planned.name)
            case Silence():
                pass
            case _ if job in self._at:  # else it has just lost its run to another job
                current = self._at[job]
                current.shown.show(event)
                current.update = event.update
                if event.update < event.updates:
                    self._show_all()

    def _leave(self, job: int, planned: "PlannedRun") -> None:
        if job in self._at and self._at[job].planned.name == planned.name:
            self._at.pop(job).shown.end()

    def _end(self, event: "RunEnds") -> None:
        planned = event.planned
        if planned.name in self._done:
            return  # another job told of it
        self._done[planned.name] = planned.arm.examples
        self._show_all()
        measurements, of = self._store.measurements(event.run.number), len(self._runs)
        title = f"{len(self._done):>{len(str(of))}}/{of} {self._title(planned)}"
        self._display.show_end(event.run, measurements, title, was_there=planned.name in self._there)

    def _title(self, planned: "PlannedRun") -> str:
        return f"{_arm_name(planned.arm, sized=self._sized)} s{planned.seed}"

    def _show_all(self) -> None:
        count = f"{len(self._done)}/{len(self._runs)} runs"
        examples = sum(self._done.values()) + sum(one.examples for one in self._at.values())
        self._shown.show(Step("ladder", examples, sum(run.arm.examples for run in self._runs), count))
