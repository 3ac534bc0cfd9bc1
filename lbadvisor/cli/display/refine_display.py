"""What `lbadvisor refine` shows while it searches: a line for each trial, and how far its runs are."""

from lbadvisor.cli.display.progress import ShowsSteps
from lbadvisor.cli.display.train_display import Display, RunDisplay
from lbadvisor.refine.objective import TrialRun
from lbadvisor.refine.refine_request import RefineRequest
from lbadvisor.refine.refining import RefineEvent
from lbadvisor.refine.search import BudgetSpent, SearchWaits, TrialBegins, TrialEnds
from lbadvisor.refine.search_space import point_text
from lbadvisor.runs.runner import Started


def begins_a_run(event: RefineEvent) -> bool:
    """Whether the event is the first of a run."""
    return isinstance(event, TrialRun) and isinstance(event.event, Started)


class SearchDisplay:
    """The events of a search."""

    def __init__(self, display: Display, shown: ShowsSteps, asked: RefineRequest) -> None:
        self._display, self._asked = display, asked
        self._run = RunDisplay(display, shown, "")
        self._waited_for = 0

    def show(self, event: RefineEvent) -> None:
        """Show the event."""
        if isinstance(event, TrialRun):
            if isinstance(event.event, Started):
                self._run.end()
                self._display.show_line(f"run {event.run}")
            self._run.show(event.event)
            return
        self._run.end()
        line = self._line(event)
        if line is not None:
            self._display.show_line(line)

    def _line(self, event: int | TrialBegins | TrialEnds | SearchWaits | BudgetSpent) -> str | None:
        match event:
            case TrialBegins():
                resumed = ", resumed" if event.claim.taken_over else ""
                point = point_text(self._asked.space, event.claim.point)
                return f"trial {event.claim.number}: {point}{resumed} ({event.ended} of {event.wanted} ended)"
            case TrialEnds():
                value = event.trial.value
                said = f"{self._asked.metric} {value:.4g}" if value < float("inf") else "diverged"
                return f"trial {event.trial.number}: {said}{', stopped early' if event.trial.outcome.pruned else ''}"
            case SearchWaits():
                is_known, self._waited_for = event.running == self._waited_for, event.running
                return None if is_known else f"waiting for {event.running} trials of other processes"
            case BudgetSpent():
                spent = f"the epochs budget is spent ({event.spent_epochs:.4g})"
                return f"{spent}: {event.ended} of {event.wanted} trials"
            case _:
                return f"reused: {event} trials from runs in the database" if event else None
