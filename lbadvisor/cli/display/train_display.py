"""What `lbadvisor train` shows: what it will do, how far it is, how it ended."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.markup import escape
from rich.progress import BarColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.text import Text

from lbadvisor.cli.display.console import say, stderr, stdout
from lbadvisor.cli.display.measured import accuracy_text, facts_of, measured_text
from lbadvisor.cli.display.render_plan import caveat_text, planned_text
from lbadvisor.comparison.results import is_evaluated
from lbadvisor.plan.caveats import caveats_of_adapted
from lbadvisor.plan.plan import Plan
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.records.quantities import ACCURACY, SECONDS
from lbadvisor.records.run import Measurement, Run
from lbadvisor.runs.clipped_share import MOST_CLIPPED, clipped_share

if TYPE_CHECKING:
    from lbadvisor.runs.reuse import StoredName
    from lbadvisor.runs.runner import Progress, RunRequest, Started
    from lbadvisor.training.data.dataset import Preparing

PLAIN_LINE_SECONDS = 5.0
"""Without a terminal there is at most one line in this time,"""
PLAIN_SILENCE_SECONDS = 60.0
"""and at least one in this, if no evaluation is due."""


class ShowsProgress(Protocol):
    """What a run's events are shown on."""

    def prepare(self, event: "Preparing") -> None:
        """The data set is made ready."""

    def start(self, event: "Started") -> None:
        """The run starts or resumes."""

    def advance(self, event: "Progress") -> None:
        """One update was made."""


class Display:
    """The messages of one `train` command: to stderr, its result to stdout; only the result if quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = stderr()

    def _say(self, text: str | Text) -> None:
        if not self._quiet:
            say(self._console, text)

    def show_loading(self) -> None:
        """What the next seconds are for: PyTorch is about to be imported."""
        self._say("[dim]loading PyTorch[/dim]")

    def show_recipe(self, name: str, recipe: Recipe, plan: Plan | None, seed: int) -> None:
        """The run's name and length, each changed field of its plan, and what the plan or the recipe warns of."""
        schedule = in_updates(recipe).schedule
        self._say(
            f"[bold]{escape(name)}[/bold]: {escape(recipe.model.name)} on {escape(recipe.data.name)}, "
            f"batch {recipe.batch.size:,}, {schedule.updates:,} updates, seed {seed}"
            + (", bfloat16 autocast" if recipe.compute.precision == "bf16" else "")
            + (", TF32" if recipe.compute.tf32 else "")
            + (", compiled" if recipe.compute.compile else "")
        )
        for line in plan.adjustments if plan else ():
            if line.before != line.after:
                self._say(f"  {line.field}: {planned_text(line)} {line.unit} [dim]({escape(line.rule)})[/dim]")
        for caveat in plan.warnings if plan else caveats_of_adapted(recipe):
            self._say(caveat_text(caveat))

    def show_stored(self, stored: "StoredName", default: str, what: str = "training") -> None:
        """The name under which it is stored, unless that is its default name and the only one."""
        if stored.name != default or stored.others:
            names = ", and as ".join(f"`{name}`" for name in (stored.name, *stored.others))
            self.show_note(f"this {what} is stored as {names}" + (": choose with --name" if stored.others else ""))

    def show_dry_run(self, request: "RunRequest", saved_update: int | None) -> None:
        """What would be done, and where; `saved_update` is that of the newest checkpoint, None if there is none."""
        begins = "from the start" if saved_update is None else f"from update {saved_update}"
        say(
            stdout(),
            f"would train {escape(request.name)} {begins} on {request.device.type}, data "
            f"{escape(str(request.data_dir))}, database {escape(str(request.database))}; nothing was done",
        )

    def show_stop(self, name: str, signal_name: str, update: int | None, updates: int | None) -> None:
        """How to resume; `update` is the last one made, None if the data set was not even ready."""
        what = (
            "stopped while preparing the data set; no update was made, and nothing half-written is left; "
            "the same command starts again"
            if update is None
            else f"saved [bold]{escape(name)}[/bold] at update {update} of {updates}; the same command resumes it"
        )
        self._say(f"{signal_name}: {what}")

    def show_interruption(self, name: str, update: int | None) -> None:
        """How to resume after a second Ctrl-C; `update` is that of the last checkpoint, None if there is none."""
        what = (
            "no update was saved; the same command starts again"
            if update is None
            else f"the last checkpoint of [bold]{escape(name)}[/bold] is from update {update}; the same command "
            "resumes from there"
        )
        self._say(f"stopped at once: {what}")

    def show_clipping(self, run: Run, measurements: Sequence[Measurement]) -> None:
        """A warning where most gradients were above the clipping threshold after the beginning."""
        found = clipped_share(run.recipe, measurements)
        if found is None or found.share <= MOST_CLIPPED:
            return
        what = "updates were clipped" if found.clipped else "measured gradient norms were above the threshold"
        begins = "" if found.clipped else ", where the clipping warm-up ended"
        self._say(
            f"[yellow]warning[/yellow] clipped-share: {found.share:.0%} of the {what} ({found.max_norm:g}) after "
            f"update {found.after}{begins}: above half, the learning rate is too high; lower it "
            "(--set optimizer.lr=...) rather than clip (Google Tuning Playbook)"
        )

    def show_result(self, run: Run, measurements: Sequence[Measurement], *, again: bool) -> None:
        """How the run ended, on stdout."""
        evaluated = [m for m in measurements if is_evaluated(m)]
        lead = "is already complete" if again else "complete"
        text = f"{escape(run.name)} {lead}: {run.update} updates"
        if evaluated:
            last = evaluated[-1]
            best = max(evaluated, key=lambda m: m.evaluation_accuracy_percent or 0.0)
            text += (
                f", {last.epoch:.4g} epochs,{accuracy_text(last)} (best {measured_text(ACCURACY, best)}% at update "
                f"{best.update}), {measured_text(SECONDS, last)} s"
            )
        say(stdout(), text)

    @contextmanager
    def progress(self) -> Iterator[ShowsProgress]:
        """A bar on a terminal, plain lines elsewhere, nothing if quiet."""
        if self._quiet:
            yield _Silent()
        elif self._console.is_terminal:
            bar = _Bar(self)
            with bar.bar:
                yield bar
        else:
            yield _Lines(self)

    def show_start(self, event: "Started") -> None:
        """Where the run begins, and what there is to note."""
        for note in event.notes:
            self.show_note(note)
        if event.run.update or event.update:
            self._say(f"resuming from update {event.update} of {event.run.updates}")

    def show_note(self, note: str) -> None:
        """What the user should know of."""
        self._say(f"[yellow]note[/yellow] {escape(note)}")

    def show_line(self, text: str) -> None:
        """One plain line of progress."""
        self._say(escape(text))


class _Silent:
    def prepare(self, event: "Preparing") -> None:
        pass

    def start(self, event: "Started") -> None:
        pass

    def advance(self, event: "Progress") -> None:
        pass


class TimeLeft(TimeRemainingColumn):
    """The time that is left, and that it is that; nothing as long as it is not known."""

    def render(self, task: Task) -> Text:
        """Such as 0:01:20 left."""
        return Text("") if task.time_remaining is None else super().render(task).append(" left")


def images_text(event: "Preparing") -> str:
    """How far a data set's preparation is, nothing if that is not known."""
    return "" if event.total is None else f"{event.done} of {event.total} images"


class _Bar:
    def __init__(self, display: Display) -> None:
        self._display = display
        self.bar = ProgressBar(
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[rate]}"),
            TimeLeft(),
            TextColumn("{task.fields[facts]}"),
            console=display._console,
            transient=True,
        )
        self._preparing: dict[str, TaskID] = {}

    def prepare(self, event: "Preparing") -> None:
        if event.task not in self._preparing:
            self._preparing[event.task] = self.bar.add_task("", total=None, count="", rate="", facts=escape(event.task))
        task = self._preparing[event.task]
        self.bar.update(task, completed=event.done, total=event.total, count=images_text(event))

    def start(self, event: "Started") -> None:
        for task in self._preparing.values():
            self.bar.remove_task(task)
        self._display.show_start(event)
        self._began, self._first, self._updates = time.monotonic(), event.update, event.run.updates
        self._task = self.bar.add_task("", total=self._updates, completed=event.update, count="", rate="", facts="")
        self._measured: Measurement | None = None
        self._accuracy = ""

    def advance(self, event: "Progress") -> None:
        if event.note is not None:
            self._display.show_note(event.note)
        rate = (event.update - self._first) / max(time.monotonic() - self._began, 1e-9)
        count = f"{event.update}/{self._updates} updates"
        self.bar.update(self._task, completed=event.update, count=count, rate=f"{rate:.3g}/s")
        if event.measurement is not None:
            self._measured = event.measurement
            self._accuracy = accuracy_text(event.measurement) or self._accuracy
        if event.measurement is not None or event.loss is not None:
            self.bar.update(self._task, facts=facts_of(self._measured, event.loss) + self._accuracy)


class _Lines:
    def __init__(self, display: Display) -> None:
        self._display, self._shown = display, float("-inf")

    def prepare(self, event: "Preparing") -> None:
        now = time.monotonic()
        if now - self._shown >= PLAIN_LINE_SECONDS or event.done in (0, event.total):
            self._shown = now
            done = images_text(event)
            self._display.show_line(f"{event.task}: {done}" if done else event.task)

    def start(self, event: "Started") -> None:
        self._shown = float("-inf")
        self._display.show_start(event)
        self._began, self._first, self._updates = time.monotonic(), event.update, event.run.updates
        self._measured: Measurement | None = None

    def advance(self, event: "Progress") -> None:
        if event.note is not None:
            self._display.show_note(event.note)
        self._measured = event.measurement or self._measured
        now = time.monotonic()
        evaluated = accuracy_text(event.measurement)
        wait = PLAIN_LINE_SECONDS if evaluated else PLAIN_SILENCE_SECONDS
        if event.loss is None and event.measurement is None:
            return
        if now - self._shown < wait and event.update < self._updates:
            return
        self._shown = now
        seconds = now - self._began
        left = seconds / (event.update - self._first) * (self._updates - event.update)
        self._display.show_line(
            f"update {event.update}/{self._updates} {facts_of(self._measured, event.loss)}{evaluated} {seconds:.1f} s"
            + (f", about {left:.0f} s left" if left else "")
        )
