"""The store: recipes, plans, runs and their measurements in one database. It returns records, never rows."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Row, delete, insert, select, update

from lbadvisor.comparison.comparison import Position, RunResult, Standing
from lbadvisor.errors import StoreError, UnknownRunError
from lbadvisor.recipe.identity import Identity, digest_of
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.suggestion import nearest
from lbadvisor.records.measured_columns import Columns
from lbadvisor.records.quantities import Quantity
from lbadvisor.records.run import Environment, Guarantee, Ladder, Measurement, Reading, Run, RunStatus
from lbadvisor.store.address import DatabaseAddress, address_of
from lbadvisor.store.dialect import NamedLock, dialect_of
from lbadvisor.store.measured_rows import delete_measured, read_measurements, read_readings, write_measured
from lbadvisor.store.open_database import OpenDatabase
from lbadvisor.store.outage import repeating
from lbadvisor.store.read_columns import read_columns
from lbadvisor.store.read_ladders import all_ladders, find_ladder
from lbadvisor.store.read_results import read_result, read_standing
from lbadvisor.store.rows import RUNS, run_of
from lbadvisor.store.run_folder import checkpoint_folder, checkpoints_of, is_in_training, only_process
from lbadvisor.store.sqlite import LOCK_TIMEOUT_SECONDS
from lbadvisor.store.tables import ladder_runs, ladders, plans, runs
from lbadvisor.store.write_rows import (
    at_least,
    change,
    check_name,
    insert_or,
    insert_row,
    recipe_number,
    require_run,
    unknown_number,
)

LARGEST_INTEGER = 2**63 - 1
"""The databases' limit, which applies to seeds and runs' numbers."""

INTERRUPTED_BECAUSE = "its process was killed, or the machine went down"


@repeating
class Store:
    """An open database, in a `with` block. Each method is one short transaction; several processes may write at once.

    It is opened once and passed on, for as long as a training lasts. A process that inherits it or is sent it connects
    anew. Once it is open, every method waits for a server that does not answer (see `outage`), and raises `StoreError`
    if the database cannot be read or written.
    """

    @classmethod
    def open(
        cls, database: DatabaseAddress | str, *, create: bool, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS
    ) -> Self:
        """The store in the database; only with `create` are missing tables, a file and its folders created.

        Raises `StoreError` if it is missing, not a database, or has another schema than this program's.
        """
        return cls(OpenDatabase.open(address_of(database), create=create, lock_timeout_seconds=lock_timeout_seconds))

    @classmethod
    def at(cls, database: DatabaseAddress | str) -> Self:
        """The store in the database. Its first change makes what is missing; until then the store reads as empty.

        Raises `StoreError` if a file is no database, or has another schema than this program's.
        """
        return cls(OpenDatabase.at(address_of(database)))

    def __init__(self, database: OpenDatabase) -> None:
        self.address = database.address
        self.outage = database.outage
        self.database, self._reading, self._writing = database, database.reading, database.writing

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.database,)

    def make(self) -> None:
        """Make the tables now, and a file and its folders, if they are missing and the store may."""
        self.database.make()

    def checkpoint_folder(self, run: Run) -> Path:
        """Where the checkpoints of one of its runs lie."""
        return checkpoint_folder(self.address, run)

    @contextmanager
    def only_process(self, run: Run) -> Iterator[None]:
        """While entered, no other process can train the run, on any machine; makes the folder of its checkpoints.

        Raises `InTrainingError` if another process trains it, and `CheckpointError` if the folder cannot be written.
        """
        with self.locked(run), only_process(self.checkpoint_folder(run), run.name):
            yield

    def lock(self, run: Run) -> None:
        """Acquire the database's own lock of the run, if it has any. Raises `InTrainingError`."""
        self.database.lock(run)

    @contextmanager
    def locked(self, run: Run) -> Iterator[None]:
        """While entered, that lock is held. Raises `InTrainingError`."""
        self.lock(run)
        try:
            yield
        finally:
            self.database.unlock(run)

    def named_lock(self, name: str, seconds: float) -> NamedLock:
        """A lock of that name, acquired for as long as the process lives; it tries for `seconds`, without end if -1."""
        return dialect_of(self.address).named_lock(self.address, name, seconds)

    @property
    def checkpoints(self) -> Path:
        """The folder that holds those of all runs; it need not be there."""
        return checkpoints_of(self.address)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_plan(self, plan_json: str, baseline: Recipe, adapted: Recipe) -> int:
        """The number of the plan, which is stored once however often it is added."""
        digest = hashlib.sha256(plan_json.encode()).hexdigest()
        with self._writing() as connection:
            known = connection.scalar(select(plans.c.number).where(plans.c.hash == digest))
            if known is not None:
                return int(known)
            return insert_row(
                connection,
                insert(plans).values(
                    hash=digest,
                    body=plan_json,
                    baseline=recipe_number(connection, baseline),
                    adapted=recipe_number(connection, adapted),
                    created_at=datetime.now(UTC),
                ),
            )

    def plan_json(self, number: int) -> str:
        """The plan with that number, as it was added. Raises `StoreError` if there is none."""
        with self._reading() as connection:
            body = connection.scalar(select(plans.c.body).where(plans.c.number == number))
        if body is None:
            raise StoreError(f"database {self.address}: there is no plan {number}")
        return str(body)

    def add_run(
        self,
        name: str,
        recipe: Recipe,
        seed: int,
        updates: int,
        environment: Environment,
        plan_number: int | None = None,
        guarantee: Guarantee | None = None,
    ) -> Run:
        """Add a run of `recipe`, planned for `updates` updates; it is running and has made none yet.

        Raises `StoreError` if another run has the name, if the name is invalid (empty, all digits, surrounded by spaces
        or unprintable), if there is no such plan, or if the seed does not fit into 64 bits.
        """
        check_name(name)
        if not -LARGEST_INTEGER <= seed <= LARGEST_INTEGER:
            raise StoreError(f"seed {seed} is too large: the largest is {LARGEST_INTEGER}")
        now = datetime.now(UTC)
        with self._writing() as connection:
            if connection.scalar(select(runs.c.number).where(runs.c.name == name)) is not None:
                raise StoreError(
                    f"a run named {name!r} already exists: `lbadvisor resume {name}`, or give another name"
                )
            if plan_number is not None:
                plan = connection.scalar(select(plans.c.number).where(plans.c.number == plan_number))
                if plan is None:
                    raise StoreError(f"database {self.address}: there is no plan {plan_number}")
            number = insert_row(
                connection,
                insert(runs).values(
                    name=name,
                    recipe=recipe_number(connection, recipe),
                    plan=plan_number,
                    seed=seed,
                    status=RunStatus.RUNNING.value,
                    update=0,
                    updates=updates,
                    created_at=now,
                    changed_at=now,
                    resumes=0,
                    guarantee=None if guarantee is None else guarantee.value,
                    **asdict(environment),
                ),
            )
            return run_of(connection.execute(RUNS.where(runs.c.number == number)).one(), self.address)

    def find_run(self, name: str) -> Run | None:
        """The run with that name; None if there is none."""
        if not name.isprintable():
            return None
        with self._reading() as connection:
            row = connection.execute(RUNS.where(runs.c.name == name)).one_or_none()
            return None if row is None else self._run(connection, row)

    def run(self, name_or_number: str) -> Run:
        """The run with that name, or number if it is all digits. Raises `UnknownRunError` with a suggestion."""
        if not name_or_number.isdecimal():
            found = self.find_run(name_or_number)
            if found is None:
                near = nearest(name_or_number, self.run_names())
                advice = f"did you mean {near!r}?" if near else "`lbadvisor runs` lists them"
                raise UnknownRunError(f"no run is named {name_or_number!r}: {advice}")
            return found
        # A longer number exceeds a database's integers.
        if len(name_or_number) < len(str(LARGEST_INTEGER)):
            with self._reading() as connection:
                row = connection.execute(RUNS.where(runs.c.number == int(name_or_number))).one_or_none()
                if row is not None:
                    return self._run(connection, row)
        raise unknown_number(name_or_number)

    def runs(self, status: RunStatus | None = None) -> list[Run]:
        """All runs, or those with one status, by number."""
        with self._reading() as connection:
            found = [self._run(connection, row) for row in connection.execute(RUNS.order_by(runs.c.number))]
        return [run for run in found if status in (None, run.status)]

    def runs_of(self, identity: Identity) -> list[Run]:
        """All runs with that identity, by number: one training, whatever its runs are called."""
        query = RUNS.where(runs.c.seed == identity.seed).order_by(runs.c.number)
        with self._reading() as connection:
            of_seed = [self._run(connection, row) for row in connection.execute(query)]
        return [run for run in of_seed if digest_of(run.recipe) == identity.recipe]

    def run_names(self) -> list[str]:
        """The names of all runs, by number."""
        with self._reading() as connection:
            return list(connection.scalars(select(runs.c.name).order_by(runs.c.number)))

    def record(self, run_number: int, taken: Sequence[Measurement], readings: Sequence[Reading] = ()) -> None:
        """Store the measurements `taken`, the `readings` of the same updates, and the run's progress.

        Those of an update that is already stored are replaced: an interval that is trained again after a crash leaves
        no trace. Raises `UnknownRunError`, and `InTrainingError`, with nothing to store too, if the run's lock was lost
        to another process.
        """
        with self._writing() as connection:
            if not taken:
                return
            latest = max(one.update for one in taken)
            change(connection, run_number, update=at_least(runs.c["update"], latest))
            write_measured(connection, run_number, taken, readings)

    def discard_after(self, run_number: int, update: int) -> None:
        """Set the run back to a checkpoint's `update` and delete what was measured later: it will be measured again.

        Raises `UnknownRunError`.
        """
        with self._writing() as connection:
            change(connection, run_number, update=update)
            delete_measured(connection, run_number, update)

    def set_saved(self, run_number: int, update: int) -> None:
        """Note that the run's state at that update is saved: it got at least this far. Raises `UnknownRunError`."""
        with self._writing() as connection:
            change(connection, run_number, update=at_least(runs.c["update"], update))

    def set_updates(self, run_number: int, updates: int) -> None:
        """Set after how many updates the run ends, at the latest. Raises `UnknownRunError`."""
        with self._writing() as connection:
            change(connection, run_number, updates=updates)

    def set_status(self, run_number: int, status: RunStatus, because: str | None, *, resumed: bool = False) -> None:
        """Set the run's status and why it ended (None if it did not); `resumed` counts one more resume.

        Raises `UnknownRunError`.
        """
        with self._writing() as connection:
            change(
                connection,
                run_number,
                status=status.value,
                ended_because=because,
                resumes=runs.c.resumes + (1 if resumed else 0),
            )

    def set_guarantee(self, run_number: int, guarantee: Guarantee) -> None:
        """Set the run's guarantee from now on. Raises `UnknownRunError`."""
        with self._writing() as connection:
            change(connection, run_number, guarantee=guarantee.value)

    def set_sums(self, run_number: int, threads: int, micro_size: int | None, ranks: int, shares: int) -> None:
        """Set how the run splits its sums from now on. Raises `UnknownRunError`."""
        with self._writing() as connection:
            change(connection, run_number, threads=threads, micro_size=micro_size, ranks=ranks, shares=shares)

    def set_recipe(self, run_number: int, recipe: Recipe) -> None:
        """Set another recipe of the same training, such as one with another cadence. Raises `UnknownRunError`."""
        with self._writing() as connection:
            change(connection, run_number, recipe=recipe_number(connection, recipe))

    def set_test(self, run_number: int, loss: float, accuracy_percent: float) -> None:
        """Set the test results of the run's last weights: mean loss and percent. Raises `UnknownRunError`."""
        with self._writing() as connection:
            change(connection, run_number, test_loss=loss, test_accuracy_percent=accuracy_percent)

    def add_ladder(self, name: str, baseline: Recipe, target_batch_size: int) -> Ladder:
        """The ladder with that name, created without runs if needed.

        Raises `StoreError` if it exists with another baseline or target.
        """
        with self._writing() as connection:
            found = find_ladder(connection, name)
            if found is None:
                values = {
                    "name": name,
                    "baseline": recipe_number(connection, baseline),
                    "target_batch_size": target_batch_size,
                    "created_at": datetime.now(UTC),
                }
                connection.execute(insert(ladders).values(values))
                found = find_ladder(connection, name)
        assert found is not None
        if (digest_of(found.baseline), found.target_batch_size) != (digest_of(baseline), target_batch_size):
            raise StoreError(f"a ladder named {name!r} exists for another training: give another name")
        return found

    def add_to_ladder(self, ladder_number: int, arm: str, run_number: int) -> None:
        """Add the run to the ladder's arm; changes nothing if it is already there."""
        values = {"ladder": ladder_number, "run": run_number, "arm": arm}
        with self._writing() as connection:
            connection.execute(insert_or(connection, "ignore", ladder_runs), values)

    def find_ladder(self, name: str) -> Ladder | None:
        """The ladder with that name; None if there is none."""
        with self._reading() as connection:
            return find_ladder(connection, name)

    def ladders(self) -> list[Ladder]:
        """All ladders, by number."""
        with self._reading() as connection:
            return all_ladders(connection)

    def ladder_names(self) -> list[str]:
        """The names of all ladders, by number."""
        with self._reading() as connection:
            return list(connection.scalars(select(ladders.c.name).order_by(ladders.c.number)))

    def rename_ladder(self, ladder_number: int, name: str) -> None:
        """Rename the ladder. Raises `StoreError` if another ladder has the name."""
        with self._writing() as connection:
            taken = connection.scalar(select(ladders.c.number).where(ladders.c.name == name))
            if taken not in (None, ladder_number):
                raise StoreError(f"a ladder named {name!r} already exists: give another name")
            connection.execute(update(ladders).where(ladders.c.number == ladder_number).values(name=name))

    def delete_ladder(self, ladder_number: int) -> None:
        """Delete the ladder; its runs are kept."""
        with self._writing() as connection:
            connection.execute(delete(ladders).where(ladders.c.number == ladder_number))

    def measurements(self, run_number: int) -> list[Measurement]:
        """The run's measurements, by update. Raises `UnknownRunError`."""
        return self.measurements_of([run_number])[0]

    def measurements_of(self, run_numbers: Sequence[int], *, evaluated_only: bool = False) -> list[list[Measurement]]:
        """The measurements of each run, by update, the runs in the given order, all as of one moment.

        `evaluated_only` leaves out those without an evaluation, for many long runs. Raises `UnknownRunError`.
        """
        found = []
        with self._reading() as connection:
            for number in run_numbers:
                require_run(connection, number)
                found.append(read_measurements(connection, number, evaluated_only=evaluated_only))
        return found

    def readings(self, run_number: int, *quantities: Quantity) -> list[Reading]:
        """The run's readings of these quantities, of all if none is named, by update. Raises `UnknownRunError`."""
        with self._reading() as connection:
            require_run(connection, run_number)
            return read_readings(connection, run_number, quantities)

    def results_of(self, run_numbers: Sequence[int]) -> list[RunResult]:
        """The results of the runs for comparing, in the given order, all as of one moment. Raises `UnknownRunError`."""
        with self._reading() as connection:
            found = []
            for number in run_numbers:
                row = connection.execute(RUNS.where(runs.c.number == number)).one_or_none()
                if row is None:
                    raise unknown_number(number)
                found.append(read_result(connection, self._run(connection, row)))
            return found

    def standings_of(self, run_numbers: Sequence[int], positions: Sequence[Position]) -> list[Standing]:
        """The runs' measurements at each of the positions."""
        with self._reading() as connection:
            return [read_standing(connection, run_numbers, position) for position in positions]

    def rename_run(self, run_number: int, name: str) -> None:
        """Rename the run. Raises `UnknownRunError`, and `StoreError` if the name is invalid or in use."""
        check_name(name)
        with self._writing() as connection:
            taken = connection.scalar(select(runs.c.number).where(runs.c.name == name))
            if taken not in (None, run_number):
                raise StoreError(f"a run named {name!r} already exists: give another name")
            change(connection, run_number, name=name)

    def delete_run(self, run_number: int) -> None:
        """Delete the run, with what was measured and its place in ladders. Raises `UnknownRunError`."""
        with self._writing() as connection:
            if connection.execute(delete(runs).where(runs.c.number == run_number)).rowcount == 0:
                raise unknown_number(run_number)

    def columns_of(self, run_numbers: Sequence[int]) -> Iterator[Columns]:
        """The measurements of each run as columns, the runs in the given order, read one at a time.

        For curves of many long runs; for a few, use `measurements_of`. A run without measurements has empty columns.
        Raises `UnknownRunError`.
        """
        return map(self.columns, run_numbers)

    def columns(self, run_number: int) -> Columns:
        """The measurements of one run as columns. Raises `UnknownRunError`."""
        with self._reading() as connection:
            require_run(connection, run_number)
            return read_columns(connection, run_number)

    def _run(self, connection: Connection, row: Row[Any]) -> Run:
        """The record of a row of `RUNS` with its current status: the process that trained it may be gone."""
        run = run_of(row, self.address)
        if run.status is not RunStatus.RUNNING or is_in_training(self.checkpoint_folder(run)):
            return run
        if dialect_of(connection).is_locked(connection, run.number):
            return run
        return replace(run, status=RunStatus.INTERRUPTED, ended_because=INTERRUPTED_BECAUSE)
