"""Records a training elsewhere as a run: what its own loop tells is stored while it goes, as that of ours is."""

import contextlib
import math
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, SupportsIndex

from lbadvisor.errors import DivergedError, NoAnswerError, RefusedError, StoreError, UsageError
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.identity import differences
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.recipe.settings import recipe_of_settings, recorded
from lbadvisor.records.quantities import ACCURACY, LOSS, SECONDS
from lbadvisor.records.run import Environment, Measured, Run, RunStatus, told
from lbadvisor.runs.databases import DatabaseAddress, opened_to_train
from lbadvisor.runs.names import checked_name
from lbadvisor.runs.reuse import refuse_differing
from lbadvisor.runs.told_numbers import Told, checked_numbers, checked_update, measured_of
from lbadvisor.store import Store
from lbadvisor.training.host import environment_on, processor

FLUSH_SECONDS = 1.0
"""What is logged is written this much later at the latest: a kill loses no more."""


@contextlib.contextmanager
def record(
    name: str,
    recipe_or_settings: Recipe | str | Path | Mapping[str, Any],
    seed: int = 0,
    database: DatabaseAddress | str | None = None,
    *,
    program: str = "a loop of its own",
    resume: bool = False,
) -> Iterator["RunLog"]:
    """A run of a training elsewhere, to log into: `with lbadvisor.record("mine", {"batch_size": 128}) as run:`.

    `recipe_or_settings` is a recipe, the path of one, or a mapping of settings, such as a plan's: `batch_size`, and as
    far as they are known `examples`, `optimizer`, `lr`, `momentum`, `weight_decay`, `updates` or `epochs`,
    `ghost_batch_size`, `model`, `data`; any other setting is kept and compared as well. `program` says what trains it,
    such as "lightning 2.6". Runs of equal settings and several seeds are one group. `database` is a file, by default
    that of the command line. Of several processes that train one run, only one records it.

    When the block ends, the run is complete, or diverged if its last loss is not finite; an interrupt stops it, another
    error makes it failed, and both are raised on; a run whose process is killed is interrupted. An existing name is
    refused unless `resume`: then what was logged at the next logged update and later is discarded and logged anew;
    settings and seed must be the same. Raises `UsageError`, `RecipeError`, `StoreError`, and `RefusedError` for another
    training, or while another process records the run.
    """
    checked_name(name, "run")
    recipe = in_updates(_recipe_of(recipe_or_settings, name, program))
    with opened_to_train(database) as store:
        run, is_new = _found_or_added(store, name, recipe, seed, resume=resume)
        with store.only_process(run):
            log = RunLog(store, run, resumed=not is_new)
            store.set_status(run.number, RunStatus.RUNNING, None, resumed=not is_new)
            try:
                yield log
            except BaseException as error:
                # If this cannot be stored either, the first error is the one to tell.
                with contextlib.suppress(StoreError):
                    log.end(error)
                raise
            log.end(None)


def _recipe_of(given: Recipe | str | Path | Mapping[str, Any], name: str, program: str) -> Recipe:
    if isinstance(given, Mapping):
        return recipe_of_settings(given, name, program)
    if not isinstance(given, Recipe | str | Path):
        raise UsageError(
            f"a {type(given).__name__} is not what was trained: give a recipe, such as plan.adapted, or a mapping of "
            "settings, such as plan.settings or vars(arguments)"
        )
    return recorded(given if isinstance(given, Recipe) else load_recipe(Path(given)), program)


def _found_or_added(store: Store, name: str, recipe: Recipe, seed: int, *, resume: bool) -> tuple[Run, bool]:
    found = store.find_run(name)
    if found is None:
        return store.add_run(name, recipe, seed, recipe.schedule.updates or 1, environment_here()), True
    if not resume:
        raise RefusedError(f"a run named {name!r} already exists: pass resume=True to resume it, or give another name")
    differing = [one for one in differences(found.recipe, recipe) if not one.startswith("recorded.program:")]
    differing += [f"seed: {found.seed} there, {seed} here"] if found.seed != seed else []
    refuse_differing(f"the run {name!r} belongs to another training", differing, "give another name for a new run")
    return found, False


def environment_here() -> Environment:
    """The environment of a training in this process: with torch only if that is imported already."""
    torch = sys.modules.get("torch")
    if torch is None:
        return environment_on("cpu", processor(), "not imported")
    from lbadvisor.training.environment import environment_of

    has_gpu = torch.cuda.is_available()
    return environment_of(torch.device("cuda", torch.cuda.current_device()) if has_gpu else torch.device("cpu"))


class RunLog:
    """An open run of a training elsewhere; `run` is its record as of the start, `update` the latest one logged."""

    def __init__(self, store: Store, run: Run, *, resumed: bool = False) -> None:
        self.run, self.update = run, run.update
        self._store, self._goes_back = store, resumed
        self._numbers: dict[str, Any] = {}
        self._pending: dict[int, Measured] = {}
        self._loss = 0.0
        self._has_accuracy = False
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None
        self._fault: StoreError | None = None
        self._began = time.monotonic()

    def log(self, update: SupportsIndex, **numbers: Told) -> None:
        """Add what is known after an `update`, which counts from 1: numbers by the keys of `records.quantities`.

        Such as `loss`, `lr`, `gradient_norm`, `weight_distance` and `evaluation_loss`; `accuracy`, of an evaluation, in
        percent from 0 to 100; `clipped_share` from 0 to 1. `examples`, `epoch` and `seconds` are counted if they are
        left out. Updates ascend; more of the latest one adds to it. All is written within `FLUSH_SECONDS`. Raises
        `UsageError` for what cannot be, and `StoreError` if what was logged before cannot be written.
        """
        reached, checked = checked_update(update), checked_numbers(numbers)
        with self._lock:
            if self._fault is not None:
                raise self._fault
            if self._goes_back:
                self._go_back_to(reached - 1)
            elif reached < self.update:
                raise UsageError(f"update {reached} was logged after update {self.update}: updates must ascend")
            if ACCURACY.key in checked and not self._has_accuracy:
                self._has_accuracy = True
                _warn_of_share(checked[ACCURACY.key])
            before = self._numbers if reached == self.update else {SECONDS.key: time.monotonic() - self._began}
            self.update, self._numbers = reached, before | checked
            self._loss = checked.get(LOSS.key, self._loss)
            self._pending[reached] = measured_of(self.run.recipe, reached, self._numbers)
            if self._timer is None:
                self._timer = threading.Timer(FLUSH_SECONDS, self._flush_in_time)
                self._timer.daemon = True
                self._timer.start()

    def end(self, error: BaseException | None) -> None:
        """Write what is left, and how the run ended: cleanly, or by the error."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._flush()
        self._store.set_status(self.run.number, *self._ending(error))

    def _go_back_to(self, update: int) -> None:
        """Discard what an earlier process logged after the update; time goes on from there."""
        self._goes_back = False
        self._store.discard_after(self.run.number, min(update, self.update))
        earlier = self._store.measurements(self.run.number)
        self._began -= told(earlier[-1].seconds) if earlier and earlier[-1].seconds is not None else 0.0
        self.update = update

    def _flush_in_time(self) -> None:
        with self._lock:
            self._timer = None
            try:
                with self._store.outage.put_off():
                    self._flush()
            except NoAnswerError:
                pass  # what is logged next is written with it
            except StoreError as error:
                self._fault = error

    def _flush(self) -> None:
        if not self._pending:
            return
        readings = [reading for one in self._pending.values() for reading in one.readings]
        self._store.record(self.run.number, [one.measurement for one in self._pending.values()], readings)
        self._pending.clear()
        if self.update > self.run.updates:
            self._store.set_updates(self.run.number, self.update)

    def _ending(self, error: BaseException | None) -> tuple[RunStatus, str]:
        what = "" if error is None else f"{type(error).__name__}: {error}"
        if not math.isfinite(self._loss):
            return RunStatus.DIVERGED, f"its loss is {self._loss} at update {self.update}" + (
                f"; {what}" if what else ""
            )
        if error is None:
            planned = self.run.updates
            all_made = self.update == planned
            return RunStatus.COMPLETE, f"all {planned} updates made" if all_made else f"ended at update {self.update}"
        if isinstance(error, DivergedError):
            return RunStatus.DIVERGED, str(error)
        if isinstance(error, Exception):
            return RunStatus.FAILED, what
        return RunStatus.STOPPED, f"stopped by {type(error).__name__} at update {self.update}"


def _warn_of_share(accuracy: float) -> None:
    if 0 < accuracy <= 1:
        message = f"accuracy {accuracy:g} is stored as {accuracy:g} percent: if it is a share, log 100 times that"
        warnings.warn(message, stacklevel=3)
