"""`lbadvisor.train`, `ladder` and `compare`: what the commands do, as values."""

import signal
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from lbadvisor.comparison.column_words import parse_columns
from lbadvisor.comparison.comparison import Comparison
from lbadvisor.comparison.conditions import parse_condition
from lbadvisor.errors import LbadvisorError, PlanError, UsageError
from lbadvisor.library.options import LadderRules, PlanOptions, count_of, request_by, split_keywords
from lbadvisor.library.plans import loaded, plan
from lbadvisor.planning.arms import parse_arms
from lbadvisor.planning.baseline import baseline_of
from lbadvisor.planning.option_needs import Planned, refuse_idle
from lbadvisor.planning.planned_arms import LadderRequest, planned_arms
from lbadvisor.recipe.file import code_folders
from lbadvisor.records.axis import Axis
from lbadvisor.records.run import Run, RunStatus
from lbadvisor.runs.databases import DatabaseAddress, opened
from lbadvisor.runs.following import Followed, Stop, follow
from lbadvisor.runs.names import checked_name, ladder_name_of, run_name_of
from lbadvisor.runs.reuse import name_of_ladder, name_of_training
from lbadvisor.runs.selection import compare_selection, select

if TYPE_CHECKING:
    from lbadvisor.recipe.recipe import Recipe
    from lbadvisor.training.machine import MicroSize


def train(
    recipe: "Recipe | Path | str",
    *,
    to: int | None = None,
    seed: int = 0,
    name: str | None = None,
    database: DatabaseAddress | str | None = None,
    device: str = "auto",
    data_dir: Path | str | None = None,
    micro: "MicroSize" = None,
    shares: int | None = None,
    **options: Unpack[PlanOptions],
) -> Run:
    """Train a recipe, adapted to batches of `to` examples if that is given, and return its run, complete.

    Like `lbadvisor train`, and in the same database: a stopped run resumes, and a complete one is returned as it is.
    `device` is auto, cpu, cuda or cuda:1; `micro` the examples per pass, to save memory; `shares` what an update is cut
    into, to have the bits of as many ranks. `options` are those of `plan`.
    A Ctrl-C, or a signal to end, first completes the update and saves: the same call resumes, bit for bit. For progress
    iterate over `train_run`, which yields after every update.

        >>> import lbadvisor
        >>> run = lbadvisor.train("recipes/digits.toml", to=512, adapt="none")
        >>> run.name, run.status.value, run.update
        ('digits-512-none-s0', 'complete', 25)

    Raises the errors of `lbadvisor.errors`: `RecipeError` and `PlanError` for the request, `DataError` for the data,
    `DivergedError` for a loss that is not finite, `RefusedError` if the name is that of another training.
    """
    made = None if to is None else plan(recipe, to=to, **options)
    if made is None and options:
        raise PlanError(f"{next(iter(options))}= has no effect without a target batch size: give to=")
    trained = loaded(recipe) if made is None else made.adapted
    from lbadvisor.runs.runner import RunRequest, find_earlier, train_run
    from lbadvisor.runs.workspace import Workspace
    from lbadvisor.training.machine import Machine

    machine = replace(Machine.here(device, data_dir, micro, _code(recipe)), shares=shares)
    with Workspace.open(database, machine) as workspace:
        store = workspace.store
        default = run_name_of(trained, seed)
        own = name_of_training(store, trained, seed, default).name if name is None else checked_name(name, "run")
        request = RunRequest(trained, made, own, seed)
        workspace.machine.check(trained)
        earlier = find_earlier(store, request)
        if earlier is None or earlier.status is not RunStatus.COMPLETE:
            _finish(train_run(workspace, request))
        return store.run(own)


def ladder(
    recipe: "Recipe | Path | str",
    *,
    to: int,
    arms: str | Sequence[str] = "sb,lb,lr,gbn,ra",
    seeds: int = 3,
    name: str | None = None,
    database: DatabaseAddress | str | None = None,
    device: str = "auto",
    data_dir: Path | str | None = None,
    micro: "MicroSize" = None,
    **rules: Unpack[LadderRules],
) -> Comparison:
    """Train the arms of the paper's table over `seeds` seeds (Hoffer et al. 2017, arXiv:1705.08741), and compare them.

    Like `lbadvisor ladder`: what is stored already is reused, and a stopped ladder resumes. `ra:1` in `arms` is one arm
    with one seed. A sweep is a call for each target, which share the baseline's runs. `gap.conclusion` says in words
    what may be concluded. `device`, `data_dir` and `micro` are as in `train`; for progress iterate over `train_ladder`.

    Raises what `train` raises, but for `DivergedError`: that a run diverged is a result.
    """
    baseline, asked = loaded(recipe), request_by(to, _options_of(rules))
    wanted = parse_arms(arms if isinstance(arms, str) else ",".join(arms), count_of("seeds", seeds))
    planned, _ = planned_arms(wanted, baseline, asked)
    requests = tuple(arm.request(asked) for arm, _ in wanted if arm.request is not None)
    refuse_idle(rules, Planned(baseline_of(baseline), requests))
    from lbadvisor.runs.ladder import train_ladder
    from lbadvisor.runs.ladder_runs import compare_ladder
    from lbadvisor.runs.workspace import Workspace
    from lbadvisor.training.machine import Machine

    with Workspace.open(database, Machine.here(device, data_dir, micro, _code(recipe))) as workspace:
        default = ladder_name_of(baseline, asked)
        own = None if name is None else checked_name(name, "ladder")
        own = own or name_of_ladder(workspace.store, baseline, to, planned, default).name
        request = LadderRequest(own, baseline, to, planned)
        _finish(train_ladder(workspace, request))
        return compare_ladder(workspace.store, request)


def compare(
    *runs: str | int | Run,
    where: Sequence[str] = (),
    columns: str | None = None,
    by: str = "update",
    database: DatabaseAddress | str | None = None,
) -> Comparison:
    """Stored runs and ladders side by side, by name or number; the first is the baseline. Loads no torch.

    Like `lbadvisor compare`: `where` keeps the runs that meet all of its conditions, such as "batch=1024"; without
    `runs` it selects from all of them. `columns` names the metrics, as in "best accuracy, accuracy at 5000", and `by`
    the axis of their positions: update, epoch, example or second. In the result accuracies are in percent, the
    generalization gap in points of validation error, and intervals are of 95% (Student's t over seeds).

    Raises `UnknownRunError`, `UsageError` for fewer than two runs or a wrong condition, and `StoreError`.
    """
    if not runs and not where:
        raise UsageError("name at least two runs or a ladder, or select runs with where=")
    if by not in tuple(Axis):
        raise UsageError(f"by={by!r}: choose from {', '.join(Axis)}")
    wanted = () if columns is None else parse_columns(columns, Axis(by))
    names = [run.name if isinstance(run, Run) else str(run) for run in runs]
    with opened(database) as store:
        return compare_selection(store, select(store, names, [parse_condition(text) for text in where]), wanted)


def _options_of(rules: LadderRules) -> PlanOptions:
    numbers, options = split_keywords("ladder", {**rules})
    if wrong := {*numbers, *options} - LadderRules.__annotations__.keys():
        raise PlanError(f"{min(wrong)}= is not of a whole ladder: its arms say what is adapted, and by which rules")
    options["adapt"] = "none"
    return options


def _finish(events: Generator[Followed, None, None]) -> None:
    """Train to the end; a signal is delivered once the run is saved."""
    from lbadvisor.runs.jobs import begins_a_run
    from lbadvisor.runs.ladder import RunFails, failure_of

    failed: dict[str, LbadvisorError] = {}

    def heed(event: Followed) -> None:
        if isinstance(event, RunFails):
            failed[event.planned.name] = event.error

    ended = follow(events, heed, begins=begins_a_run)
    if isinstance(ended, Stop):
        if ended.signal_name is not None:
            signal.raise_signal(signal.Signals[ended.signal_name])
        raise KeyboardInterrupt
    if failed:
        raise next(iter(failed.values())) if len(failed) == 1 else failure_of(failed)


def _code(recipe: "Recipe | Path | str") -> tuple[Path, ...] | None:
    """Where the code that the recipe names is looked for: only a recipe's file is the user's word to run it."""
    return code_folders(Path(recipe)) if isinstance(recipe, Path | str) else None
