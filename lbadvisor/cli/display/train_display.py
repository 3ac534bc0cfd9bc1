"""What `lbadvisor train` shows: what it will do, how far it is, how it ended."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.text import Text

from lbadvisor.cli.display.console import say, stderr, stdout
from lbadvisor.cli.display.measured import accuracy_text, measured_text, told_of, told_text
from lbadvisor.cli.display.progress import RunSteps, ShowsSteps, prepared, progress
from lbadvisor.cli.display.render_plan import caveat_text, planned_text
from lbadvisor.comparison.comparison import RunResult
from lbadvisor.errors import LbadvisorError
from lbadvisor.planning.batch_division import WholeBatch
from lbadvisor.planning.caveats import caveats_of_adapted
from lbadvisor.planning.plan import Plan
from lbadvisor.planning.rank_plan import diagnosis_of_ranks, rank_plan
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import first_default
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.records.quantities import SECONDS
from lbadvisor.records.run import Measurement, Run
from lbadvisor.runs.clipped_share import MOST_CLIPPED, clipped_share

if TYPE_CHECKING:
    from lbadvisor.runs.following import Stop
    from lbadvisor.runs.jobs import Crew, JobBegins
    from lbadvisor.runs.reuse import StoredName
    from lbadvisor.runs.runner import Progress as UpdateMade
    from lbadvisor.runs.runner import RunRequest, Started
    from lbadvisor.runs.workspace import Workspace
    from lbadvisor.training.data.dataset import Preparing


def _defaults_text(recipe: Recipe) -> str:
    """What the recipe does not say, and an earlier version understood as another number."""
    optimizer = recipe.optimizer
    return "".join(
        f", {name.replace('_', ' ')} {getattr(optimizer, name):g} ({optimizer.name}'s default)"
        for name, field in type(optimizer).model_fields.items()
        if first_default(field) is not None and name not in optimizer.model_fields_set
    )


class Display:
    """The messages of one `train` command: to stderr, its result to stdout; only the result if quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self.console = stderr()

    def _say(self, text: str | Text) -> None:
        if not self._quiet:
            say(self.console, text)

    def show_loading(self) -> None:
        """What the next seconds are for: PyTorch is about to be imported."""
        self._say("[dim]loading PyTorch[/dim]")

    def show_recipe(self, name: str, recipe: Recipe, plan: Plan | None, seed: int) -> None:
        """The run's name and length, each changed field of its plan, and what the plan or the recipe warns of."""
        schedule = in_updates(recipe).schedule
        most = "at most " if schedule.is_by_distance else ""
        self._say(
            f"[bold]{escape(name)}[/bold]: {escape(recipe.model.name)} on {escape(recipe.data.name)}, "
            f"batch {recipe.batch.size:,}, {most}{schedule.updates:,} updates, seed {seed}"
            + (", bfloat16 autocast" if recipe.compute.precision == "bf16" else "")
            + (", TF32" if recipe.compute.tf32 else "")
            + (", compiled" if recipe.compute.compile else "")
            + _defaults_text(plan.baseline if plan else recipe)
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

    def show_dry_run(self, workspace: "Workspace", request: "RunRequest", saved_update: int | None) -> None:
        """What would be done, and where; `saved_update` is that of the newest checkpoint, None if there is none."""
        machine = workspace.machine
        begins = "from the start" if saved_update is None else f"from update {saved_update}"
        say(
            stdout(),
            f"would train {escape(request.name)} {begins} on {machine.device.type}, data "
            f"{escape(str(machine.data_dir))}, database {escape(str(workspace.store.address))}; nothing was done",
        )
        if machine.ranks.are_several or machine.shares is not None:
            from lbadvisor.cli.display.diagnosis_display import print_diagnosis

            # Own networks have batch norm, as far as is known.
            batch = WholeBatch.of(request.recipe, has_batch_norm=request.recipe.model.has_batch_norm is not False)
            micro = machine.micro if isinstance(machine.micro, int) else None
            plan = rank_plan(batch, machine.ranks.size, micro, machine.shares)
            print_diagnosis(stdout(), diagnosis_of_ranks(plan), chart=False)

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
        found = clipped_share(run.recipe, run.updates, measurements)
        if found is None or found.share <= MOST_CLIPPED:
            return
        what = "updates were clipped" if found.clipped else "measured gradient norms were above the threshold"
        begins = "" if found.clipped else ", where the clipping warm-up ended"
        self._say(
            f"[yellow]warning[/yellow] clipped-share: {found.share:.0%} of the {what} ({found.max_norm:g}) after "
            f"update {found.after}{begins}: above half, the learning rate is too high; lower it "
            "(--set optimizer.lr=...) rather than clip (Google Tuning Playbook)"
        )

    def show_result(self, result: RunResult, *, again: bool) -> None:
        """How the run ended, on stdout."""
        run, last = result.run, result.final
        lead = "is already complete" if again else "complete"
        text = f"{escape(run.name)} {lead}: {run.update} updates"
        if last is not None:
            told = told_of(last)
            best = result.best.get(told.key, last)
            text += (
                f", {last.epoch:.4g} epochs,{accuracy_text(last)} (best {told_text(told, best)} at update "
                f"{best.update}), {measured_text(SECONDS, last)} s"
            )
        say(stdout(), text)

    def progress(self) -> AbstractContextManager[ShowsSteps]:
        """Where steps are shown: see `progress`."""
        return progress(self.console, quiet=self._quiet)

    @contextmanager
    def training(self, task: str = "") -> Iterator["RunDisplay"]:
        """Where the events of one run are shown."""
        with self.progress() as shown:
            yield RunDisplay(self, shown, task)

    def show_start(self, event: "Started", task: str = "") -> None:
        """Where the run begins, and what there is to note; `task` is its name among others."""
        lead = f"{task}: " if task else ""
        for note in event.notes:
            self.show_note(f"{lead}{note}")
        if event.run.update or event.update:
            self._say(f"{escape(lead)}resuming from update {event.update} of {event.run.at_most}{event.run.updates}")

    def show_note(self, note: str) -> None:
        """What the user should know of."""
        self._say(f"[yellow]note[/yellow] {escape(note)}")

    def show_begun(self, job: int, event: "JobBegins") -> None:
        """Which machine a job is on."""
        self.show_line(f"job {job + 1}{', which was lost, begins again' if event.again else ' begins'} on {event.host}")

    def show_lost(self, job: int, outcome: "Stop | LbadvisorError | None", taken_over: str | None) -> None:
        """How a job ended whose work was not done, and what another job resumes instead."""
        if outcome is not None:
            how = outcome if isinstance(outcome, LbadvisorError) else f"it was stopped by {outcome.signal_name}"
            after = f"; another job resumes {taken_over} from its last checkpoint" if taken_over else ""
            self._say(f"[yellow]warning[/yellow] job {job + 1}: {escape(f'{how}{after}')}")

    def show_crew(self, crew: "Crew", needed: "Crew", threads: int | None) -> None:
        """How several jobs are divided, and that there is work for fewer of them."""
        if len(needed.devices) > 1:
            self.show_line(needed.text(threads))
        idle = len(crew.devices) - len(needed.devices)
        if idle:
            self.show_note(f"{idle} of {len(crew.devices)} jobs are not started: there is no run for them")

    def show_line(self, text: str) -> None:
        """One plain line of progress."""
        self._say(escape(text))


class RunDisplay:
    """The events of a run: its notes as messages, all else as progress of a task; the last `update`, of `updates`."""

    def __init__(self, display: Display, shown: ShowsSteps, task: str) -> None:
        self._display, self._shown, self._task = display, shown, task
        self.update: int | None = None
        self.updates: int | None = None

    def show(self, event: "Preparing | Started | UpdateMade") -> None:
        """Show the event."""
        from lbadvisor.runs.runner import Started
        from lbadvisor.training.data.dataset import Preparing

        match event:
            case Preparing():
                self._shown.show(prepared(event))
            case Started():
                self._display.show_start(event, self._task)
                self.updates = event.run.updates
                self._steps = RunSteps(self._task)
                self._shown.begin(self._steps.at(event.update, self.updates))
            case _:
                if event.note is not None:
                    self._display.show_note(f"{self._task}: {event.note}" if self._task else event.note)
                self.update, self.updates = event.update, event.updates
                self._shown.show(self._steps.of(event))

    def end(self) -> None:
        """The run is over: another one may begin."""
        self._shown.drop(self._task)
        self.update = None
