"""How a run divides its sums, which decides its bits: over shares and ranks, CPU threads and micro-batches."""

from dataclasses import replace

from lbadvisor.batch_cuts import ranks_for
from lbadvisor.planning.batch_division import is_cut_whole
from lbadvisor.records.run import Run, RunStatus
from lbadvisor.runs.workspace import Workspace
from lbadvisor.training.checkpoints.checkpoint_file import Header
from lbadvisor.training.cores import has_given_threads
from lbadvisor.training.machine import Machine
from lbadvisor.training.micro_batches import whole_batch
from lbadvisor.training.own_buffers import own_buffers_note
from lbadvisor.training.spanning_ghosts import spanning_note
from lbadvisor.training.state import TrainState, most_threads, threads_of


def divide_sums(
    workspace: Workspace, run: Run, state: TrainState, header: Header | None, micro_size: int | None
) -> tuple[bool, list[str]]:
    """Divide those of `state`, which `header` describes if it was saved.

    Returns whether it is done otherwise than before, and what there is to say.
    """
    other_shares, share_notes = _share_notes(workspace.machine, run, state, header)
    thread_notes = _thread_notes(workspace, run, state, begins=header is None or other_shares)
    other_micro, micro_notes = _micro_notes(state, micro_size)
    return other_shares or other_micro, share_notes + thread_notes + micro_notes


def _share_notes(machine: Machine, run: Run, state: TrainState, header: Header | None) -> tuple[bool, list[str]]:
    """Give each rank its shares; whether they, or the threads, are others than those it was saved by, and notes."""
    ranks, before = machine.ranks, run.shares if header is None else header.shares or header.ranks
    shares = machine.shares or _shares_kept(ranks.size, state, before) or ranks.size
    state.ranks = replace(ranks, cut_into=shares)
    notes = list(filter(None, [_how_divided(ranks.size, shares), spanning_note(state)]))
    if header is None or before is None or (header.ranks, before) == (ranks.size, shares):
        return False, notes
    if machine.threads is not None:
        state.threads = machine.threads
    elif header.threads > most_threads(ranks):
        state.threads = threads_of(state.parameters, ranks)
    saved = f"saved by {_divided(header.ranks, before, header.threads)}"
    if shares == before and state.threads == header.threads and _is_exact(state):
        return False, [*notes, f"{saved}, resumed by {_counted(ranks.size, 'rank')} in the same shares: bit for bit"]
    resumed = f"resumed by {_divided(ranks.size, shares, state.threads)}"
    return True, [*notes, f"{saved}, {resumed}: equal up to rounding, not bit for bit"]


def _is_exact(state: TrainState) -> bool:
    """Whether the bits are known not to depend on the number of ranks."""
    # On a GPU nobody has compared them.
    return state.interval.device.type == "cpu" and own_buffers_note(state) is None


def _shares_kept(ranks: int, state: TrainState, before: int | None) -> int | None:
    """The shares of each update so far, if these ranks can train them."""
    if before is None:
        return None
    batch = whole_batch(state.recipe, state.model)
    return before if ranks in ranks_for(before) and (before == ranks or is_cut_whole(batch, before)) else None


def _how_divided(ranks: int, shares: int) -> str | None:
    if ranks == 1:
        return f"each update is computed in {shares} shares, one after the other" if shares > 1 else None
    each = "a share" if shares == ranks else f"{shares // ranks} of {shares} shares"
    return f"{ranks} ranks train it, each {each} of every update"


def _divided(ranks: int, shares: int, threads: int) -> str:
    in_shares = f" in {_counted(shares, 'share')}" if shares != ranks else ""
    return f"{_counted(ranks, 'rank')} of {_counted(threads, 'CPU thread')}{in_shares}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count > 1)}"


def _thread_notes(workspace: Workspace, run: Run, state: TrainState, *, begins: bool) -> list[str]:
    """Divide the cores by the processes that train for the database, if the run begins; returns notes about it.

    The jobs of one command divide them by their number, whether or not each of them trains by now.
    """
    given = workspace.machine.threads
    if not begins and given not in (None, state.threads):
        return [f"keeps its {state.threads} CPU threads, which decide its bits: --threads {given} is for new runs"]
    if not begins or given is not None or has_given_threads() or workspace.machine.device.type != "cpu":
        return []
    if workspace.sitting.jobs > 1:
        state.threads = max(1, state.threads // workspace.sitting.jobs)
        return []
    others = sum(other.number != run.number for other in workspace.store.runs(RunStatus.RUNNING))
    before, state.threads = state.threads, max(1, state.threads // (1 + others))
    if state.threads == before:
        return []
    train = "another process trains" if others == 1 else f"{others} other processes train"
    return [f"uses {state.threads} of {before} CPU threads, as {train} for this database too: --threads overrides it"]


def _micro_notes(state: TrainState, micro_size: int | None) -> tuple[bool, list[str]]:
    """Give `state` the requested size; returns whether its checkpoint had another one, and notes about it."""
    before, size = state.micro_size or state.recipe.batch.size, micro_size or state.micro_size
    state.micro_size = size
    if state.update and micro_size is not None and micro_size != before:
        how = f"the run used micro-batches of {before} and resumes with {micro_size}"
        return True, [f"{how}: equal up to rounding, not bit for bit"]
    if size is not None and size < state.recipe.batch.size:
        return False, [f"each update uses micro-batches of {size}"]
    return False, []
