"""An Optuna study in the program's own database, shared by several processes, any of which may die.

Optuna's heartbeat only works in `optimize`, and a trial that misses it fails and is retried as another one. Here, the
process that evaluates a trial holds its lock, which ends with the process, however that ends: a running trial with a
free lock was abandoned by a dead process, and the next process resumes it. Trials are assigned under another lock, the
study's.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import filelock
import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import BaseModel
from optuna.trial import FrozenTrial, TrialState, create_trial

from lbadvisor.errors import InTrainingError, StoreError
from lbadvisor.refine.proposal import distributions, named
from lbadvisor.refine.refinement import Outcome, Trial
from lbadvisor.refine.search_space import Point, SearchSpace
from lbadvisor.store import Store
from lbadvisor.store.dialect import NamedLock, dialect_of
from lbadvisor.store.outage import repeating

OUTCOME = "outcome"
"""The user attribute of an Optuna trial that stores its outcome."""
POINT = "point"
"""The one that stores its point when it is enqueued: it has no parameters until it starts."""
FAILED = "failed"
"""The one that stores when the evaluation of a trial that is still running last failed, in seconds since 1970."""
PRUNES_AFTER_TRIALS = 3
LATER = datetime.max.replace(tzinfo=UTC)
TABLES_OF_STUDIES = BaseModel.metadata
"""SQLAlchemy's description of Optuna's tables."""
WITHOUT_END = -1.0
"""Seconds for which a lock is tried."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A trial that this process evaluates; `taken_over` if another process abandoned it."""

    number: int
    point: Point
    taken_over: bool
    trial: optuna.trial.Trial
    lock: NamedLock


@dataclass(frozen=True, slots=True)
class Busy:
    """There is nothing to claim, but other processes are evaluating trials."""

    running: int


Choose = Callable[[Sequence[Trial], Sequence[Point]], Point | None]
"""Maps the ended trials and the points others are evaluating to the next point; None if there is none."""


@repeating
class SharedStudy:
    """A study by its name. Its methods wait for a server as the store's do, and raise `StoreError` as those."""

    def __init__(self, study: optuna.Study, storage: RDBStorage, space: SearchSpace, store: Store) -> None:
        self.space, self.outage = space, store.outage
        self._study, self._storage, self._store = study, storage, store
        self._id = storage.get_study_id_from_name(study.study_name)
        self._lock = store.named_lock(f"studies/{study.study_name}/study", WITHOUT_END)

    @classmethod
    def open(cls, store: Store, name: str, space: SearchSpace) -> Self:
        """The study in the database of the store; both are made if they are missing."""
        store.make()
        # Optuna's warnings are for programmers.
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with _explained(store), store.named_lock("studies/studies", WITHOUT_END):
            url, keywords = dialect_of(store.address).for_optuna(store.address)
            storage = RDBStorage(url, engine_kwargs=keywords)
            study = optuna.create_study(
                study_name=name,
                storage=storage,
                direction="minimize",
                load_if_exists=True,
                # Points are chosen elsewhere (`proposal`): the study's own sampler is not used.
                sampler=optuna.samplers.RandomSampler(seed=0),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=PRUNES_AFTER_TRIALS),
            )
            return cls(study, storage, space, store)

    def close(self) -> None:
        """Close the file."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The study's name in Optuna's tools."""
        return self._study.study_name

    @property
    def is_begun(self) -> bool:
        """Whether it has any trial, ended or not."""
        with _explained(self._store):
            return bool(self._study.get_trials(deepcopy=False))

    def trials(self) -> list[Trial]:
        """The trials that ended, by number."""
        with _explained(self._store):
            return [
                Trial(frozen.number, self._point(frozen), _outcome(frozen.user_attrs[OUTCOME]))
                for frozen in self._study.get_trials(deepcopy=False)
                if frozen.state in (TrialState.COMPLETE, TrialState.PRUNED)
            ]

    def take_in(self, found: Sequence[tuple[Point, Outcome]]) -> int:
        """Add past measurements, except at points that the study already has; returns how many were added."""
        with _explained(self._store), self._lock:
            known = {self._point(frozen) for frozen in self._study.get_trials(deepcopy=False)}
            new = [(point, outcome) for point, outcome in found if point not in known]
            for point, outcome in new:
                self._study.add_trial(
                    create_trial(
                        params=named(self.space, point),
                        distributions=dict(distributions(self.space)),
                        value=outcome.value,
                        user_attrs={OUTCOME: _body(outcome)},
                    )
                )
            return len(new)

    def claim(self, wanted: int, choose: Choose, since: datetime = LATER) -> Claim | Busy | None:
        """A trial for this process: an abandoned one first, else a new one while there are fewer than `wanted`.

        One that failed `since` then is left for later. None if nothing is left to do, now or later.
        """
        with _explained(self._store), self._lock:
            running, failed = [], []
            for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if frozen.user_attrs.get(FAILED, 0) >= since.timestamp():
                    failed.append(self._point(frozen))
                    continue
                lock = self._try_lock(frozen.number)
                if lock is None:
                    running.append(self._point(frozen))
                elif self._frozen(frozen.number).state is TrialState.RUNNING:
                    left = optuna.trial.Trial(self._study, self._trial_id(frozen.number))
                    return self._claimed(left, lock, taken_over=True)
                else:  # it ended between the two looks
                    lock.release()
            ended = self.trials()
            nothing = Busy(len(running)) if running else None
            if len(ended) + len(running) + len(failed) >= wanted:
                return nothing
            if not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
                point = choose(ended, [*running, *failed])
                if point is None:
                    return nothing
                self._study.enqueue_trial(named(self.space, point), user_attrs={POINT: list(point)})
            trial = self._study.ask(dict(distributions(self.space)))
            lock = self._try_lock(trial.number)
            if lock is None:
                raise StoreError(f"study {self.name}: another process holds the lock of the new trial {trial.number}")
            return self._claimed(trial, lock, taken_over=False)

    def is_hopeless(self, claim: Claim, share_percent: int, value: float) -> bool:
        """Whether `value`, at that share of the schedule, is above the median of the other trials there.

        Raises `InTrainingError` if another process has ended the trial.
        """
        with _explained(self._store):
            if share_percent not in self._frozen(claim.number).intermediate_values:
                claim.trial.report(value, share_percent)
            return bool(claim.trial.should_prune())

    def fail(self, claim: Claim) -> None:
        """Note that the trial failed, unless another process has ended it: it is resumed later, as an abandoned one."""
        with suppress(InTrainingError), _explained(self._store):
            claim.trial.set_user_attr(FAILED, datetime.now(UTC).timestamp())

    def tell(self, claim: Claim, outcome: Outcome) -> None:
        """End the trial, unless another process has, and release it."""
        with suppress(InTrainingError), _explained(self._store):
            claim.trial.set_user_attr(OUTCOME, _body(outcome))
            if outcome.pruned:
                self._study.tell(claim.number, state=TrialState.PRUNED, skip_if_finished=True)
            else:
                self._study.tell(claim.number, outcome.value, skip_if_finished=True)
        claim.lock.release()

    def _claimed(self, trial: optuna.trial.Trial, lock: NamedLock, *, taken_over: bool) -> Claim:
        try:
            # A trial abandoned before its numbers were stored still has them from when it was enqueued.
            for dimension in self.space.dimensions:
                trial.suggest_float(dimension.name, dimension.low, dimension.high, log=dimension.logarithmic)
            return Claim(trial.number, self._point(self._frozen(trial.number)), taken_over, trial, lock)
        except Exception:
            lock.release()
            raise

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._trial_id(number))

    def _point(self, frozen: FrozenTrial) -> Point:
        names = [dimension.name for dimension in self.space.dimensions]
        noted = [frozen.params[name] for name in names] if frozen.params.keys() >= set(names) else None
        return tuple(float(value) for value in noted or frozen.user_attrs[POINT])

    def _try_lock(self, number: int) -> NamedLock | None:
        lock = self._store.named_lock(f"studies/{self.name}/trial-{number}", 0)
        try:
            lock.acquire()
        except filelock.Timeout:
            return None
        return lock


@contextmanager
def _explained(store: Store) -> Iterator[None]:
    with dialect_of(store.address).explained(store.address):
        try:
            yield
        except UpdateFinishedTrialError:
            raise InTrainingError("another process has ended the trial") from None
        except StorageInternalError as error:
            raise (error.__cause__ or error) from None


def _body(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON, with null for infinity."""
    return {
        "values": [value if math.isfinite(value) else None for value in outcome.values],
        "pruned": outcome.pruned,
        "runs": list(outcome.runs),
        "epochs": outcome.epochs,
        "examples": outcome.examples,
        "seconds": outcome.seconds,
        "taken_in": outcome.taken_in,
    }


def _outcome(body: dict[str, Any]) -> Outcome:
    values = tuple(math.inf if value is None else value for value in body["values"])
    return Outcome(**(body | {"values": values, "runs": tuple(body["runs"])}))
