"""What training on ranks costs: one rank beside none, and two ranks beside plain DistributedDataParallel by hand.

    python tests/benchmarks/ranks_speed.py [--recipe mnist_f1 resnet44] [--rounds 9] [--json FILE]

Contestants live side by side and take turns, each a group of processes on the CPU with one thread a rank (two with one
rank); a number is that of a turn, the median over the turns with their range. On images drawn at random, of the
recipe's size, at a batch of 4096 in ghosts of 128 (ResNet-44: 256, in ghosts of 64).

- alone: the loop without ranks, as `lbadvisor train` runs it, and as it does under `torchrun --nproc-per-node 1`;
- one rank: the same with all that several ranks do: gradients and running statistics are summed over the one;
- two ranks: ours; by hand: a plain script with torch's defaults, the same network, ghosts, and optimizer.
"""

import argparse
import json
import os
import select
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from contestants import Updates, random_images, script_by_hand
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from turns import Task
from worker import Pace, recipe_of

from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm
from lbadvisor.recipe.catalog import DATASETS
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Measurements
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.training.data.in_memory import InMemory
from lbadvisor.training.loop import train
from lbadvisor.training.ranks import ALONE, Ranks, joined
from lbadvisor.training.state import start_state

CPU = torch.device("cpu")
WAITS_SECONDS = 300.0
SIZES = {"mnist_f1": (4096, 128, 3), "resnet44": (256, 64, 1)}
"""Batch, ghosts, and updates of a turn."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A loop, ours or by hand, on so many ranks."""

    name: str
    task: Task
    ranks: int


class OneRank(Ranks):
    """One rank that does all that several do."""

    are_several = True  # type: ignore[assignment]


def ours(recipe: Recipe, dataset: InMemory, ranks: Ranks, threads: int) -> Updates:
    """The loop of this project, and what a run's ranks tell one another after each update.

    Without measurements, whose cost `overhead.py` tells: at this batch, few updates make an epoch of these images.
    """
    unmeasured = in_updates(recipe).model_copy(update={"measurements": Measurements()})
    state = start_state(unmeasured, 0, dataset.shape, dataset.classes, CPU)
    state.threads, state.ranks = threads, ranks
    for made in train(state, dataset):
        ranks.decided(False)
        yield made


def by_hand(recipe: Recipe, dataset: InMemory, ranks: Ranks) -> Updates:
    """A plain script: each rank draws its part of the batch, from its own order."""
    share = recipe.model_copy(
        update={"batch": recipe.batch.model_copy(update={"size": recipe.batch.size // ranks.size})}
    )
    script = script_by_hand(share, dataset, CPU)
    torch.manual_seed(ranks.rank)
    ghost = recipe.batch_norm.ghost_batch_size
    assert ghost is not None
    model = DistributedDataParallel(GhostBatchNorm.convert_ghost_batchnorm(script.model, ghost))
    while True:
        for images, labels in script.batches:
            loss = cross_entropy(model(images), labels)
            script.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            script.optimizer.step()
            yield None


def contestants(recipe: str, cores: int) -> tuple[tuple[str, Contestant, Contestant], ...]:
    """Pairs, each with what the first is measured against."""
    batch, ghost, _ = SIZES[recipe]
    task = Task(recipe=recipe, batch=batch, ghost=ghost, threads=1)
    whole, plain = replace(task, threads=cores), replace(task, kind="by hand")
    return (
        ("one rank, against none", Contestant("one rank", whole, 1), Contestant("alone", whole, 0)),
        ("two ranks, against plain", Contestant("ours", task, 2), Contestant("by hand", plain, 2)),
    )


def serve(task: Task, ranks: int) -> None:
    """Make the updates that are asked for on stdin, as one of the ranks; see `worker.py`."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_flush_denormal(True)
    torch.set_num_threads(task.threads)
    recipe = recipe_of(task)
    dataset = random_images(recipe.data.train_examples, CPU, DATASETS[recipe.data.name].shape)
    with ExitStack() as stack:
        here = stack.enter_context(joined()) if ranks else ALONE
        if ranks == 1:
            here = OneRank(here.rank, here.size, here.local_rank, here.of_machine, here.briefing)
        updates = (
            by_hand(recipe, dataset, here) if task.kind == "by hand" else ours(recipe, dataset, here, task.threads)
        )
        pace = Pace(replies)
        pace.reply()
        for _ in updates:
            pace()


@contextmanager
def group(contestant: Contestant) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """The processes of a contestant, killed at the end."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = json.dumps([asdict(contestant.task), contestant.ranks])
    with ExitStack() as stack:
        processes = []
        for rank in range(max(1, contestant.ranks)):
            facts = {"RANK": rank, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            facts |= {"WORLD_SIZE": contestant.ranks, "LOCAL_WORLD_SIZE": contestant.ranks}
            process = subprocess.Popen(
                [sys.executable, __file__, "--serve", words],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | ({key: str(value) for key, value in facts.items()} if contestant.ranks else {}),
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        yield processes


def turn(processes: list["subprocess.Popen[bytes]"], updates: int) -> float:
    """Milliseconds of an update, of the slowest rank."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{updates}\n".encode())
    seconds = []
    for process in processes:
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], WAITS_SECONDS)[0]:
            raise SystemExit(f"no answer in {WAITS_SECONDS:.0f} s")
        seconds.append(float(process.stdout.readline() or "nan"))
    return 1000 * max(seconds)


def race(pair: tuple[Contestant, Contestant], updates: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of an update in each round; which of them begins a round alternates."""
    found: dict[str, list[float]] = {one.name: [] for one in pair}
    with ExitStack() as stack:
        living = {one.name: stack.enter_context(group(one)) for one in pair}
        for name in living:
            turn(living[name], 2)
        for number in range(rounds):
            for name in list(living)[:: 1 if number % 2 else -1]:
                found[name].append(turn(living[name], updates))
    return found


def text(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):8.1f} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", nargs="*", choices=SIZES, default=["mnist_f1"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.serve is not None:
        task, ranks = json.loads(words.serve)
        serve(Task(**task | {"shape": tuple(task["shape"])}), ranks)
        return
    cores, kept = os.cpu_count() or 1, []
    print(f"torch {torch.__version__}, {cores} cores, n = {words.rounds} turns each; ms of an update")
    for recipe in words.recipe:
        batch, ghost, updates = SIZES[recipe]
        for what, mine, other in contestants(recipe, cores):
            found = race((mine, other), updates, words.rounds)
            ratios = [theirs / own for own, theirs in zip(*found.values(), strict=True)]
            print(f"{recipe} at {batch}, ghosts of {ghost}: {what}")
            for name, values in found.items():
                print(f"  {name:<10} {text(values)}")
            ratio = statistics.median(found[other.name]) / statistics.median(found[mine.name])
            print(
                f"  speed of {mine.name} / {other.name}: {ratio:.3f} (turn by turn {text(ratios).strip()})", flush=True
            )
            kept.append({"recipe": recipe, "what": what, "ms": found, "ratio": ratio})
    if words.json is not None:
        words.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
