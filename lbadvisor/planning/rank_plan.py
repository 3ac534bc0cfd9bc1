"""Who computes what of an update that several ranks share: examples, ghosts, and the passes that save memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from lbadvisor.batch_cuts import rank_shares, ranks_for, ranks_per_ghost, share_of
from lbadvisor.errors import UsageError
from lbadvisor.planning.batch_division import WholeBatch, check_division, micro_slices
from lbadvisor.records.diagnosis import Diagnosis, Grid

MOST_RANKS = 65_536
MOST_GHOSTS = 2**22


@dataclass(frozen=True, slots=True)
class RankShare:
    """What each of some ranks, counted from 0, computes of an update: its ghosts and micro-batches, in examples.

    Without batch norm there are no ghosts.
    """

    ranks: tuple[int, ...]
    examples: int
    ghosts: tuple[int, ...]
    micro_batches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RankPlan:
    """How `ranks` share a batch, `cut_into` so many shares, in passes of at most `micro_size`.

    `shares` are what the ranks have, each different one once. An update takes as long as the largest, which is
    `busiest_factor` times the mean one. If they differ, `even_ranks` and `even_batch_sizes` are the next ones with
    equal shares.
    """

    batch_size: int
    ranks: int
    cut_into: int
    micro_size: int | None
    ranks_per_ghost: int
    busiest_factor: float
    shares: tuple[RankShare, ...]
    even_ranks: tuple[int, ...]
    even_batch_sizes: tuple[int, ...]


def rank_plan(batch: WholeBatch, ranks: int, micro_size: int | None, cut_into: int | None = None) -> RankPlan:
    """How so many ranks share a batch; without `micro_size` each share is one pass.

    It is `cut_into` so many shares, as many for each rank; None: one. Raises `UsageError` if that would change what is
    trained.
    """
    if batch.size // batch.unit > MOST_GHOSTS:
        raise UsageError(
            f"a batch of {batch.size:,} has more than {MOST_GHOSTS:,} ghosts to share among ranks: give a smaller "
            "batch, or larger ghosts"
        )
    check_division(batch, ranks, micro_size, cut_into)
    shares = _shares(batch, ranks, micro_size, cut_into or ranks)
    sizes = {share.examples for share in shares}
    is_even = len(sizes) == 1
    return RankPlan(
        batch_size=batch.size,
        ranks=ranks,
        cut_into=cut_into or ranks,
        micro_size=micro_size,
        ranks_per_ghost=ranks_per_ghost(batch.size, batch.unit, ranks),
        busiest_factor=max(sizes) * ranks / batch.size,
        shares=shares,
        even_ranks=() if is_even else _even_ranks(batch, ranks),
        even_batch_sizes=() if is_even else _even_batch_sizes(batch, ranks),
    )


def _shares(batch: WholeBatch, ranks: int, micro_size: int | None, cut_into: int) -> tuple[RankShare, ...]:
    alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    cut = rank_shares(batch.size, batch.unit, cut_into)
    for rank in range(ranks):
        alike.setdefault(cut[share_of(cut_into, rank, ranks)], []).append(rank)
    return tuple(
        RankShare(
            tuple(its_ranks),
            sum(map(sum, own)),
            sum(own, ()) if batch.has_batch_norm else (),
            sum((micro_slices(batch, micro_size, sum(ghosts)) for ghosts in own), ()),
        )
        for own, its_ranks in alike.items()
    )


def _even_ranks(batch: WholeBatch, ranks: int) -> tuple[int, ...]:
    """The next numbers below and above that divide the ghosts, if these are all of one size."""
    count = len(batch.ghosts)
    if len(set(batch.ghosts)) > 1:
        return ()
    fewer = next((number for number in range(min(ranks, count), 1, -1) if count % number == 0), None)
    more = next((number for number in range(ranks + 1, count + 1) if count % number == 0), None)
    return tuple(number for number in (fewer, more) if number is not None)


def _even_batch_sizes(batch: WholeBatch, ranks: int) -> tuple[int, ...]:
    """The next sizes below and above of which each rank would have as many ghosts."""
    step = batch.unit * ranks
    below = batch.size // step * step
    return (below, below + step) if below else (step,)


def diagnosis_of_ranks(plan: RankPlan) -> Diagnosis:
    """The plan as it is shown."""
    part = f" of one, 1/{plan.ranks_per_ghost}" if plan.ranks_per_ghost > 1 else ""
    rows = tuple(
        (
            _numbered(share.ranks),
            share.examples,
            _sizes(share.ghosts) + part or "none",
            _sizes(share.micro_batches),
            len(share.micro_batches),
        )
        for share in plan.shares
    )
    headings = ("rank", "examples", "ghosts", "micro-batches", "passes")
    grid = Grid("what each rank computes of an update", headings, ("", ",", "", "", ","), rows)
    title = f"{plan.ranks:,} rank{_s(plan.ranks)} for a batch of {plan.batch_size:,}"
    return Diagnosis(title, "\n".join(_sentences(plan)), grids=(grid,))


def _sentences(plan: RankPlan) -> Iterator[str]:
    sizes = sorted({share.examples for share in plan.shares})
    if plan.ranks > 1 and len(sizes) == 1:
        yield f"Each rank computes {sizes[0]:,} examples: none waits for a larger share."
    elif plan.ranks > 1:
        yield _of_uneven(plan, sizes[-1])
    if plan.ranks_per_ghost == plan.ranks > 1:
        yield f"Batch norm spans the whole batch, so all ranks wait for one another {AT_EACH}."
    elif plan.ranks_per_ghost > 1:
        yield f"Each ghost spans {plan.ranks_per_ghost:,} ranks, which wait for one another {AT_EACH}."
    elif plan.ranks > 1:
        fitting = _listed(ranks_for(plan.cut_into))
        yield f"`train --shares {plan.cut_into}` gives the same bits on {fitting} ranks of as many CPU threads."
    passes = max(len(share.micro_batches) for share in plan.shares)
    if passes > 1:
        once = " and are summed over the ranks once, in the last" if plan.ranks > 1 else ""
        yield f"Gradients accumulate over {passes:,} passes{once}."
    elif plan.micro_size is not None:
        yield f"No share is larger than a micro-batch of {plan.micro_size:,}: nothing accumulates."


AT_EACH = "at every batch norm, forward and backward"


def _of_uneven(plan: RankPlan, largest: int) -> str:
    busiest = sorted(rank for share in plan.shares if share.examples == largest for rank in share.ranks)
    even = [f"in a batch of {_listed(plan.even_batch_sizes)}"]
    if plan.even_ranks:
        even.append(f"on {_listed(plan.even_ranks)} rank{_s(plan.even_ranks[-1])}")
    return (
        f"The shares are uneven: the others wait for rank{_s(len(busiest))} {_numbered(busiest)}, so an update takes "
        f"{plan.busiest_factor:.3g} times as long to compute as with equal ones. They would be equal "
        f"{', or '.join(even)}."
    )


def _listed(numbers: Sequence[int]) -> str:
    *others, last = (f"{number:,}" for number in numbers)
    return f"{', '.join(others)} or {last}" if others else last


def _s(count: int) -> str:
    return "s" if count > 1 else ""


def _numbered(ranks: Sequence[int]) -> str:
    """Such as 0 to 3, 5; three stretches at most."""
    stretches: list[list[int]] = []
    for rank in ranks:
        if stretches and rank == stretches[-1][-1] + 1:
            stretches[-1].append(rank)
        else:
            stretches.append([rank])
    shown = [f"{its[0]:,} to {its[-1]:,}" if len(its) > 2 else ", ".join(map(str, its)) for its in stretches[:3]]
    rest = len(ranks) - sum(map(len, stretches[:3]))
    return ", ".join(shown) + (f" and {rest:,} more" if rest else "")


def _sizes(sizes: Sequence[int]) -> str:
    """Such as 3 x 128 + 80."""
    runs = ((size, len(list(same))) for size, same in groupby(sizes))
    return " + ".join(f"{count:,} x {size:,}" if count > 1 else f"{size:,}" for size, count in runs)
