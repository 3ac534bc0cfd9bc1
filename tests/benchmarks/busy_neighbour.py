"""How much slower an update of F1 gets beside busy processes: as `train` makes it, and by fixed ways of waiting.

    LBADVISOR_DATA=... python tests/benchmarks/busy_neighbour.py [--rounds 5] [--neighbours 0 1 2] [--json FILE]

Each way trains in a process of its own, since OpenMP reads its settings once; the processes take turns, and all wait
but the one that is timed. A neighbour is `while True: pass`; `itself` is a second process of the same way, timed at the
same moment. What is printed is the median of the rounds with the range, the median of a round's ratios to the same way
alone, the share of the time in which a thread that could run had no core (Linux's schedstat), and how many cores
anything else used meanwhile: above a tenth, the numbers are not those of a quiet machine.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from contestants import ours, overridden

from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.data.preparation import load_dataset
from lbadvisor.training.neighbours import Neighbours

CPU = torch.device("cpu")
SETTLING_SECONDS = 1.2
"""Before a turn, for a way that looks around: it does so twice a second."""
RECIPE = Path(__file__).parents[2] / "recipes" / "mnist_f1.toml"


@dataclass(frozen=True, slots=True)
class Way:
    """Threads, and what of the environment OpenMP reads; `looks` around as a run does."""

    name: str
    threads: int
    environment: tuple[tuple[str, str], ...] = ()
    looks: bool = False


def ways(cores: int) -> list[Way]:
    """What is compared, on so many cores."""
    return [
        Way("as train does", cores, looks=True),
        Way(f"{cores} threads", cores),
        Way("1 thread", 1),
        Way(f"{cores} threads, passive", cores, (("OMP_WAIT_POLICY", "passive"),)),
        Way(f"{cores} threads, spin 1000", cores, (("GOMP_SPINCOUNT", "1000"),)),
    ]


def f1(batch_size: int) -> Recipe:
    """F1 on MNIST; a batch larger than the recipe's has ghosts of the recipe's size."""
    recipe = load_recipe(RECIPE)
    ghost = None if batch_size == recipe.batch.size else recipe.batch.size
    return overridden(
        recipe,
        {
            "batch": recipe.batch.model_copy(update={"size": batch_size}),
            "batch_norm": recipe.batch_norm.model_copy(update={"ghost_batch_size": ghost}),
        },
    )


def waited() -> tuple[int, int]:
    """Nanoseconds in which this process's threads ran, and in which they waited for a core."""
    texts = [file.read_text().split() for file in Path("/proc/self/task").glob("*/schedstat")]
    return sum(int(words[0]) for words in texts), sum(int(words[1]) for words in texts)


def work(batch_size: int, threads: int, looks: int) -> None:
    """Train; for each line on stdin as many seconds as it says; seconds of an update and waiting go to stdout."""
    torch.set_flush_denormal(True)
    recipe = f1(batch_size)
    training = ours(recipe, load_dataset(recipe, Path(os.environ["LBADVISOR_DATA"]), CPU), CPU, threads)
    with Neighbours(threads) if looks else nullcontext() as around:

        def updates_in(seconds: float) -> int:
            updates, end = 0, time.perf_counter() + seconds
            while updates == 0 or time.perf_counter() < end:
                next(training)
                updates += 1
                if around is not None:
                    around.look()
            return updates

        for line in sys.stdin:
            used = time.process_time()
            updates_in(SETTLING_SECONDS if looks else 0)
            ran, idle, begin = *waited(), time.perf_counter()
            updates = updates_in(float(line))
            seconds = time.perf_counter() - begin
            ran, idle = (after - before for after, before in zip(waited(), (ran, idle), strict=True))
            print(seconds / updates, idle / max(1, ran + idle), time.process_time() - used, flush=True)


@dataclass(frozen=True, slots=True)
class Worker:
    """A way of training, in its process."""

    way: Way
    batch_size: int
    process: "subprocess.Popen[str]"

    def begin(self, seconds: float) -> None:
        """Have it train for so many seconds."""
        assert self.process.stdin is not None
        print(seconds, file=self.process.stdin, flush=True)

    def end(self) -> tuple[float, float, float]:
        """Seconds of an update, the share of waiting, and the process's seconds of CPU since it began."""
        assert self.process.stdout is not None
        update, share, used = self.process.stdout.readline().split()
        return float(update), float(share), float(used)


@contextmanager
def worker(way: Way, batch_size: int) -> Iterator[Worker]:
    """A process that trains so."""
    words = [sys.executable, __file__, "--work", str(batch_size), str(way.threads), str(int(way.looks))]
    environment = os.environ | dict(way.environment)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield Worker(way, batch_size, process)
        finally:
            process.kill()


@contextmanager
def neighbours(count: int) -> Iterator[list[int]]:
    """While entered, so many processes, with these numbers, each keep a core busy."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.2 if count else 0)
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def busy_seconds(pids: list[int]) -> float:
    """Of all cores so far, without those of these processes of one thread."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    own = sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK") - own


@dataclass(frozen=True, slots=True)
class Turn:
    """What was measured of a way, next to how many cores anything else used, but for the neighbours."""

    seconds: float
    waited: float
    others: float


def turn(timed: list[Worker], pids: list[int], seconds: float) -> Turn:
    """One turn of some processes at once: the mean of them."""
    busy, begin = busy_seconds(pids), time.perf_counter()
    for one in timed:
        one.begin(seconds)
    updates, shares, used = zip(*(one.end() for one in timed), strict=True)
    others = (busy_seconds(pids) - busy - sum(used)) / (time.perf_counter() - begin)
    return Turn(statistics.mean(updates), statistics.mean(shares), others)


Found = dict[tuple[int, str, str], list[Turn]]
"""The turns by batch size, neighbours and way."""


def shown(found: Found) -> list[dict[str, object]]:
    """Print the table; returns it."""
    records: list[dict[str, object]] = []
    for (size, beside, name), turns in found.items():
        alone = found.get((size, "0", name), [])
        slower = [here.seconds / there.seconds for here, there in zip(turns, alone, strict=False)]
        times = [1000 * one.seconds for one in turns]
        told = {"batch_size": size, "neighbours": beside, "way": name, "slower": slower}
        records.append(told | {"turns": [asdict(one) for one in turns]})
        print(
            f"  batch {size:4} beside {beside:<6} {name:<20} {statistics.median(times):8.1f} ms "
            f"({min(times):.1f} - {max(times):.1f}), {statistics.median(slower or [math.nan]):5.2f} x, "
            f"waited {statistics.median(one.waited for one in turns):.0%}, others used "
            f"{statistics.median(one.others for one in turns):.2f} cores"
        )
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.6, help="of a turn")
    parser.add_argument("--neighbours", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--itself", action="store_true", help="also beside a second process of the same way")
    parser.add_argument("--only", type=int, nargs="*", default=[128, 4096], metavar="BATCH")
    parser.add_argument("--ways", type=int, nargs="*", default=range(5), help="numbers of the ways, from 0")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*options.work)
        return
    cores = len(os.sched_getaffinity(0))
    print(f"torch {torch.__version__}, {platform.machine()}, {cores} cores; n = {options.rounds} rounds", flush=True)
    found: Found = {}
    compared = [(ways(cores)[number], size) for size in options.only for number in options.ways]
    with ExitStack() as stack:
        workers = [[stack.enter_context(worker(*one)) for _ in range(1 + options.itself)] for one in compared]
        for pair in workers:
            turn(pair, [], 0.1)
        for _ in range(options.rounds):
            for count in options.neighbours:
                with neighbours(count) as pids:
                    for one, *_ in workers:
                        made = turn([one], pids, options.seconds)
                        found.setdefault((one.batch_size, str(count), one.way.name), []).append(made)
            for pair in workers if options.itself else ():
                made = turn(pair, [], options.seconds)
                found.setdefault((pair[0].batch_size, "itself", pair[0].way.name), []).append(made)
    records = shown(dict(sorted(found.items(), key=lambda item: item[0][:2])))
    if options.json:
        facts = {"torch": torch.__version__, "machine": platform.machine(), "cores": cores, "records": records}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
