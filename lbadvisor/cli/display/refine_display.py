"""What `lbadvisor refine` shows while it searches: a line for each trial, and how far its runs are."""

from typing import Any

from lbadvisor.cli.display.progress import ShowsSteps, Step, prepared
from lbadvisor.cli.display.train_display import Display, RunDisplay
from lbadvisor.errors import LbadvisorError
from lbadvisor.refine.objective import TrialRun
from lbadvisor.refine.refine_request import RefineRequest
from lbadvisor.refine.search import BudgetSpent, SearchWaits, TrialBegins, TrialEnds, TrialFails
from lbadvisor.refine.search_space import point_text
from lbadvisor.runs.jobs import JobBegins, JobEnds
from lbadvisor.runs.runner import Started
from lbadvisor.training.data.dataset import Preparing


class SearchDisplay:
    """The events of a search, by one job or several: a task for each run in training; `failed` are trials by name.

    Of several jobs, a run's task is called after its trial, and there is one of all the trials.
    """

    def __init__(self, display: Display, shown: ShowsSteps, asked: RefineRequest, jobs: int) -> None:
        self._display, self._shown, self._asked, self._jobs = display, shown, asked, jobs
        self._runs: dict[int, RunDisplay] = {}
        self._trials: dict[int, str] = {}
        self._waited_for, self._last = 0, ""
        self.failed: dict[str, LbadvisorError] = {}

    def show(self, told: tuple[int, Any]) -> None:
        """Show the event of a job."""
        job, event = told
        match event:
            case TrialRun(event=Started()):
                self._end_run(job)
                self._display.show_line(f"run {event.run}")
                task = f"trial {event.number} s{event.seed}" if self._jobs > 1 else ""
                self._runs[job] = RunDisplay(self._display, self._shown, task)
                self._runs[job].show(event.event)
            case TrialRun() if job in self._runs:  # else it has just lost its trial to another job
                self._runs[job].show(event.event)
            case Preparing():
                self._shown.show(prepared(event))
            case JobBegins():
                self._end_run(job)
                self._trials.pop(job, None)
                self._display.show_begun(job, event)
            case JobEnds():
                self._end_run(job)
                self._display.show_lost(job, event.outcome, self._trials.pop(job, None))
            case _:
                line = self._line(job, event)
                if line is not None and line != self._last:  # several jobs may find the budget spent
                    self._last = line
                    self._end_run(job)
                    self._display.show_line(line)

    def _end_run(self, job: int) -> None:
        if job in self._runs:
            self._runs.pop(job).end()

    def _line(self, job: int, event: object) -> str | None:
        match event:
            case TrialBegins():
                self._trials[job] = f"trial {event.number}"
                if self._jobs > 1:
                    count = f"{event.ended}/{event.wanted} ended"
                    self._shown.show(Step("trials", event.ended, event.wanted, count))
                resumed = ", resumed" if event.taken_over else ""
                point = point_text(self._asked.space, event.point)
                return f"trial {event.number}: {point}{resumed} ({event.ended} of {event.wanted} ended)"
            case TrialEnds():
                self._trials.pop(job)
                value = event.trial.value
                said = f"{self._asked.metric} {value:.4g}" if value < float("inf") else "diverged"
                return f"trial {event.trial.number}: {said}{', stopped early' if event.trial.outcome.pruned else ''}"
            case TrialFails():
                self.failed[self._trials.pop(job)] = event.error
                return f"trial {event.number} failed: {event.error}"
            case SearchWaits() if not self._trials:  # jobs wait for one another
                is_known, self._waited_for = event.running == self._waited_for, event.running
                return None if is_known else f"waiting for {event.running} trials of other processes"
            case BudgetSpent():
                spent = f"the epochs budget is spent ({event.spent_epochs:.4g})"
                return f"{spent}: {event.ended} of {event.wanted} trials"
            case _:
                return None
