"""The processes that train one run together, as torchrun starts them: ranks. R ranks.

A launcher says by RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT which of them a process is. Rank 0 runs the
command; the others wait to be told what to train.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lbadvisor.batch_cuts import EVERYTHING, share_of
from lbadvisor.errors import RankError, UsageError
from lbadvisor.training.meeting_store import answers, meeting_store, missing_ranks

TIMEOUT_SECONDS = 600
"""How long a rank waits for another within an update, unless LBADVISOR_RANK_TIMEOUT says otherwise."""

_TIMED_OUT = "Operation timed out!"
"""What torch 2.14 says (torch/csrc/distributed/c10d/Work.cpp) if it waited for a result that may still come."""

PATIENCE = timedelta(days=365)
"""How long it waits to be told of a training: rank 0 may prepare data, or wait for others to train."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """One of `size` processes that train together, `rank` of them; `of_machine` are those on this machine.

    The batch of an update is `cut_into` so many shares, as many on each rank; None: one. They decide bits, the number
    of ranks does not.

    `briefing` is the process group in which rank 0 tells the others what to train, `store` where they met; None alone.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    of_machine: int = 1
    briefing: Any = None
    store: Any = None
    cut_into: int | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which alone stores, saves and speaks."""
        return self.rank == 0

    @property
    def are_several(self) -> bool:
        """Whether there are others to wait for."""
        return self.size > 1

    @property
    def shares(self) -> int:
        """The shares that the batch of an update is cut into."""
        return self.cut_into or self.size

    @property
    def own_shares(self) -> range:
        """The numbers of those that this rank computes."""
        return range(self.shares)[share_of(self.shares, self.rank, self.size)]

    def own_parts(self, count: int) -> list[slice]:
        """For each of its shares, which of `count` places in a row are in it."""
        return [share_of(count, share, self.shares) for share in self.own_shares] if self.shares > 1 else [EVERYTHING]

    def gathered(self, values: Tensor) -> Tensor:
        """The tensors of all ranks, which are of one shape, in the order of the ranks: (R, ...)."""
        return gathered(values) if self.are_several else values[None]

    def of_shares(self, rows: Tensor) -> Tensor:
        """A row for each share, in order, from those of this rank's own."""
        return self.gathered(rows).flatten(0, 1)

    def neighbours(self, each: int) -> dist.ProcessGroup:
        """The process group of the `each` ranks in a row that this rank is one of. All ranks ask at the same time."""
        with naming_lost_ranks():
            return _subgroup(each)

    def decided(self, yes: bool) -> bool:
        """What rank 0 decides. All ranks ask at the same moments, and what the others say does not count.

        Before it decides, rank 0 may save, or wait for a database: the others wait as long as its process answers.
        """
        if not self.are_several:
            return yes
        decision = torch.tensor(int(yes))
        # Not a broadcast, in which a rank may hear it from another one than rank 0.
        told = [decision] * self.size if self.is_first else None
        with naming_lost_ranks():
            hearing: Any = dist.scatter(decision, told, 0, self.briefing, async_op=True)
            while True:
                try:
                    hearing.wait(timedelta(seconds=_timeout()))
                    return bool(decision)
                except RuntimeError as error:
                    if str(error) != _TIMED_OUT:
                        raise
                if not answers(self.store):
                    # A process waits for what it hears as it ends, unless another receive in the group has failed.
                    failing: Any = dist.irecv(decision, 0, self.briefing)
                    failing.wait(timedelta(milliseconds=1))

    def tell(self, briefing: object) -> None:
        """Tell the others, who are `told` of it, what to do: an exit code ends them."""
        if self.are_several:
            with naming_lost_ranks():
                dist.broadcast_object_list([briefing], 0, self.briefing, torch.device("cpu"))

    def told(self) -> Any:
        """What rank 0 tells. If it ends without a word to the others, this process exits: rank 0 says itself why."""
        heard: list[Any] = [None]
        try:
            dist.broadcast_object_list(heard, 0, self.briefing, torch.device("cpu"))
        except RuntimeError:
            raise SystemExit(1) from None
        return heard[0]

    def wait(self) -> None:
        """Wait, however long, until every rank is here."""
        if self.are_several:
            with naming_lost_ranks():
                dist.barrier(self.briefing)


def gathered(values: Tensor) -> Tensor:
    """The tensors of all ranks of this process's group, in their order: (R, ...)."""
    # Not by `all_gather`: gloo copies in a thread of its own, whose OpenMP threads make more than there are cores, and
    # libgomp's waiting threads then sleep (see `waiting`): an update of F1 at 4096 took 1.35 times as long.
    each = values.expand(dist.get_world_size(), *values.shape).contiguous()
    rows = torch.empty_like(each)
    with naming_lost_ranks():
        dist.all_to_all_single(rows, each)
    return rows


@lru_cache
def _subgroup(each: int) -> dist.ProcessGroup:
    group: dist.ProcessGroup = dist.new_subgroups(each, timeout=timedelta(seconds=_timeout()))[0]
    return group


ALONE = Ranks()
_here = ALONE


def ranks_here() -> Ranks:
    """The ranks that this process belongs to."""
    return _here


@contextmanager
def joined() -> Iterator[Ranks]:
    """While entered, this process is one of the ranks that its launcher started.

    They wait for one another before they leave: to close the group while a rank still talks ends that one.
    """
    global _here
    timeout = timedelta(seconds=_timeout())
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    of_machine = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    backend = "gloo"
    if torch.cuda.device_count() >= of_machine:
        torch.cuda.set_device(local_rank)
        backend = "cpu:gloo,cuda:nccl"
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = meeting_store(rank)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    try:
        briefing = dist.new_group(backend="gloo", timeout=PATIENCE)
        _here = Ranks(rank, size, local_rank, of_machine, briefing, store)
        yield _here
    finally:
        _here = ALONE
        _subgroup.cache_clear()
        dist.destroy_process_group()


@contextmanager
def naming_lost_ranks() -> Iterator[None]:
    """While entered, torch's error for a rank that has ended or does not answer is a `RankError`."""
    try:
        yield
    except RuntimeError as error:
        said = str(error).splitlines()[0]
        # The second collective behind one that came too late says "Application timeout caused pair closure".
        if not isinstance(error, dist.DistError) and "gloo" not in said and "pair closure" not in said:
            raise
        ranks = _here
        missing = missing_ranks(ranks.store, ranks.rank, ranks.size) if ranks.are_several else []
        lost = f"rank {missing[0]}" if len(missing) == 1 else "another rank"
        how = (
            f"did not answer for {_timeout()} s"
            if re.search("timed out|timeout", said, re.IGNORECASE)
            else "ended or does not answer"
        )
        because = f" ({said})" if isinstance(error, dist.DistError) else ""
        raise RankError(
            f"rank {ranks.rank} of {ranks.size} lost {lost}, which {how}{because}: see what it said; the same command "
            "resumes the run from its last checkpoint"
        ) from error


def _timeout() -> int:
    text = os.environ.get("LBADVISOR_RANK_TIMEOUT", str(TIMEOUT_SECONDS))
    if not text.isdecimal() or not 0 < int(text[:10]) < 10**9:
        raise UsageError(f"LBADVISOR_RANK_TIMEOUT={text[:40]}: give whole seconds, at least 1")
    return int(text)
