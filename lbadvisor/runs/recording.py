"""Records a training: stores its measurements, saves its state in checkpoints, and notes how it ended."""

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lbadvisor.errors import DivergedError, NoAnswerError, StoreError
from lbadvisor.recipe.early_milestones import has_more
from lbadvisor.records.run import Measured, Measurement, Run, RunStatus, told
from lbadvisor.runs.attending import GO_ON, STOP, brief
from lbadvisor.runs.continuity import loss_jump
from lbadvisor.runs.workspace import Workspace
from lbadvisor.store import Store
from lbadvisor.training.checkpoints.checkpoint_file import Images
from lbadvisor.training.data.dataset import Dataset, images_of
from lbadvisor.training.loop import mean_loss, train
from lbadvisor.training.memory import naming_what_fits
from lbadvisor.training.neighbours import Neighbours
from lbadvisor.training.state import TrainState, is_finite, save_checkpoint

FLUSH_SECONDS = 1.0
"""Measurements are written at most this often, in one transaction: a kill loses no more, and a resume repeats them."""

LOSS_SECONDS = 1.0
"""The training loss is reported at most this often between measurements."""

MOST_PENDING = 100_000
"""So many measurements wait in memory for a database whose server does not answer; then training waits as well."""

TRYING_SHARE = 0.05
"""Trying whether it answers again takes at most this share of a run's time."""

SAVING_SHARE = 0.01
"""Saving takes at most this share of a run's time: if a save took s seconds, the next waits at least s / 0.01."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One update was made; with its measurement if one was due, and a note if the user should know of something.

    The note is of a milestone that came early, of a loss that jumped when the run was resumed, or of an overloaded
    machine. The run ends after `updates`, at the latest if it is scheduled by distance. `loss` is the mean training
    loss since the last measurement, for whoever watches: told after the first update, then once a second, None
    in between.
    """

    update: int
    updates: int
    measurement: Measurement | None
    note: str | None = None
    loss: float | None = None

    @property
    def has_news(self) -> bool:
        """Whether it tells more than that an update was made, or is the last."""
        return (self.measurement, self.note, self.loss) != (None, None, None) or self.update == self.updates


def recorded(
    workspace: Workspace,
    run: Run,
    state: TrainState,
    dataset: Dataset,
    folder: Path,
    saved_update: int | None,
    losses: Sequence[float] = (),
) -> Iterator[Progress]:
    """Train `state` to its end, with the ranks of the workspace's machine; yields after every update.

    `saved_update` is that of the checkpoint in `folder` which `state` came from, None if it came from none: then a
    first one is saved, before other ranks are told, and a full disk is met at once. `losses` were measured before a
    resume, as often as now: the first one after it is compared with them. Closing the iterator saves and stops. A state
    that is not finite is never saved. Raises `DivergedError` for one, and the errors of store and checkpoints.
    """
    store = workspace.store
    recording = _Recording(store, run, state, folder, saved_update, images_of(dataset))
    try:
        if saved_update is None:
            recording.save()
        brief(workspace.machine, state)
        with Neighbours(state.threads, has_partners=workspace.has_partners) as neighbours:
            for measured in naming_what_fits(train(state, dataset), state):
                note, measurement = recording.shorten(), None
                try:
                    if measured is not None:
                        measurement = measured.measurement
                        recording.add(measured)
                        note, losses = _jump_note(losses, measurement, run) or note, ()
                    recording.keep()
                except DivergedError:
                    state.ranks.decided(STOP)
                    raise
                note, loss = note or neighbours.look(), recording.loss_to_tell(measurement)
                yield Progress(state.update, state.last_update, measurement, note, loss)
                state.ranks.decided(GO_ON)
        recording.save()
        recording.complete()
    except GeneratorExit:
        try:
            recording.stop()
        finally:
            state.ranks.decided(STOP)
        raise
    except DivergedError as error:
        recording.diverge(error)
        raise
    except KeyboardInterrupt:
        # It may have come within an update, whose state is then half made: the last checkpoint stays the newest.
        with contextlib.suppress(StoreError), store.outage.put_off():
            where = f"after update {state.update}, saved at {recording.saved_update}"
            recording.end(RunStatus.STOPPED, f"interrupted {where}")
        raise
    except Exception as error:
        # If this cannot be stored either, report the first error.
        with contextlib.suppress(StoreError), store.outage.put_off():
            recording.end(RunStatus.FAILED, f"{type(error).__name__}: {error}")
        raise


class _Recording:
    """What is measured and not stored yet, and when the next save is due."""

    def __init__(
        self, store: Store, run: Run, state: TrainState, folder: Path, saved_update: int | None, images: Images
    ) -> None:
        self._store, self._run, self._state, self._folder = store, run, state, folder
        self._images = images
        self._pending: list[Measured] = []
        self._is_shortened = False
        self._flushed = time.monotonic()
        self._save_due = self._flushed + run.recipe.checkpoints.every_seconds
        self._loss_due = self._retry_due = self._flushed
        self.saved_update = saved_update

    def add(self, measured: Measured) -> None:
        """Take what was measured. Raises `DivergedError` if the loss is not finite."""
        self._pending.append(measured)
        loss = told(measured.measurement.loss)
        if not math.isfinite(loss):
            raise self._diverged(f"its loss is {loss}")

    def shorten(self) -> str | None:
        """If a milestone came early, the run's new length is due to be stored; returns a note about it."""
        updates, update = self._state.last_update, self._state.update
        earlier = self._run.updates - updates
        if not earlier:
            return None
        self._run, self._is_shortened = replace(self._run, updates=updates), True
        latest = " at the latest" if has_more(self._run.recipe, self._state.milestones, update) else ""
        return (
            f"the weight distance brought a milestone of {self._run.name} forward by {earlier} updates, to {update}: "
            f"the run ends at update {updates}{latest}"
        )

    def loss_to_tell(self, measurement: Measurement | None) -> float | None:
        """The training loss, if it is time to tell it: to ask for it at every update would stop a GPU each time."""
        now = time.monotonic()
        if now < self._loss_due:
            return None
        self._loss_due = now + LOSS_SECONDS
        return mean_loss(self._state) if measurement is None else measurement.loss

    def keep(self) -> None:
        """Store and save what is due; if the database does not answer, it stays due, and training goes on."""
        now = time.monotonic()
        saves, flushes = now >= self._save_due, self._pending and now - self._flushed >= FLUSH_SECONDS
        if now < self._retry_due or not (saves or flushes or self._is_shortened):
            return
        try:
            with self._store.outage.put_off() if len(self._pending) < MOST_PENDING else contextlib.nullcontext():
                self.save() if saves else self._flush()
        except NoAnswerError:
            failed = time.monotonic()
            self._retry_due = failed + max(FLUSH_SECONDS, (failed - now) / TRYING_SHARE)

    def save(self) -> None:
        """Save the state, after what was measured before it. Raises `DivergedError` if it is not finite."""
        began = time.monotonic()
        if not is_finite(self._state):
            raise self._diverged("its weights or its loss are not finite")
        # Rows first: everything before a checkpoint must be stored.
        self._flush()
        save_checkpoint(self._folder, self._state, self._run.name, self._images)
        self.saved_update = self._state.update
        self._store.set_saved(self._run.number, self.saved_update)
        now = time.monotonic()
        self._save_due = now + max(self._run.recipe.checkpoints.every_seconds, (now - began) / SAVING_SHARE)

    def stop(self) -> None:
        """Save, and note that the run was stopped."""
        try:
            self.save()
        except DivergedError as error:
            self.diverge(error)
            raise
        if self._state.update == self._state.last_update:
            self.complete()
        else:
            self.end(RunStatus.STOPPED, f"stopped on request at update {self._state.update}")

    def diverge(self, error: DivergedError) -> None:
        """Store what was measured, the loss that is not finite with it."""
        self._flush()
        self.end(RunStatus.DIVERGED, str(error))

    def complete(self) -> None:
        """Note that the run is complete."""
        self.end(RunStatus.COMPLETE, f"all {self._state.last_update} updates made")

    def end(self, status: RunStatus, because: str) -> None:
        """Store how the run ended."""
        self._store.set_status(self._run.number, status, because)

    def _flush(self) -> None:
        readings = [reading for one in self._pending for reading in one.readings]
        self._store.record(self._run.number, [one.measurement for one in self._pending], readings)
        self._pending.clear()
        self._flushed = time.monotonic()
        if self._is_shortened:
            self._store.set_updates(self._run.number, self._run.updates)
            self._is_shortened = False

    def _diverged(self, what: str) -> DivergedError:
        kept = "" if self.saved_update is None else f"; the earlier state, of update {self.saved_update}, is kept"
        return DivergedError(
            f"the run {self._run.name} diverged: {what} at update {self._state.update}{kept}; lower optimizer.lr, "
            "or clip (--adapt with clip, or a [clipping] table), and give --name"
        )


def _jump_note(before: Sequence[float], measurement: Measurement, run: Run) -> str | None:
    jump = loss_jump(before, told(measurement.loss))
    if jump is None:
        return None
    return (
        f"the loss jumped when {run.name} was resumed: {jump.before:.4g} before, {jump.after:.4g} at update "
        f"{measurement.update}; that is {jump.deviations:.0f} standard deviations of its usual change"
    )
