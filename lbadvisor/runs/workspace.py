"""Where trainings are kept and what they run on: opened once, and passed down."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from lbadvisor.errors import UsageError
from lbadvisor.runs.databases import DatabaseAddress, opened_to_train
from lbadvisor.runs.on_ranks import are_started
from lbadvisor.store import Store
from lbadvisor.training.machine import Machine


@dataclass(frozen=True, slots=True)
class Sitting:
    """One command at work: since when, and which of its `jobs` this process is, counting from 0.

    What failed since it `began` is not tried again in it, by any of its jobs.
    """

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    job: int = 0
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class Workspace:
    """The store, which knows where its runs' checkpoints lie, and the machine with its data folder.

    A spawned process that is sent one opens the database itself.
    """

    store: Store
    machine: Machine
    sitting: Sitting = field(default_factory=Sitting)

    @property
    def has_partners(self) -> bool:
        """Whether its command has other processes on this machine: ranks, or jobs."""
        return self.machine.ranks.of_machine > 1 or self.sitting.jobs > 1

    @classmethod
    @contextmanager
    def open(cls, database: DatabaseAddress | str | None = None, machine: Machine | None = None) -> Iterator[Self]:
        """The workspace of a database, the default one if none is given; its first run makes what is missing of it.

        Without a `machine` it is `Machine.here()`. Raises `StoreError` and `UsageError`.
        """
        machine = machine or Machine.here()
        if are_started() and not machine.ranks.are_several:
            raise UsageError(
                "this process is one of several ranks (RANK, WORLD_SIZE), but a program that calls lbadvisor trains in "
                "one process: train with `torchrun -m lbadvisor train`, or start the program without torchrun"
            )
        with opened_to_train(database) as store:
            yield cls(store, machine)
