"""Measure what README says about speed, and write its tables: one command.

    LBADVISOR_DATA=... python tests/benchmarks/tables.py --json tests/benchmarks/speed.json --readme README.md
    python tests/benchmarks/tables.py --json speed.json --markdown speed.md [--only f1 layer ...] [--quick]

About 20 minutes on two idle cores. Contestants train in processes of their own that live side by side and take turns:
each has its own memory and threads, and all meet the same machine. One that fails, or is not installed (Lightning and
Accelerate are optional), is named and left out. Every part is written to the JSON file as soon as it is measured, and
replaces what the file had of it: a run that was stopped is completed with --only.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from readme_tables import BESIDE_ONE, BUSY, inserted, markdown
from turns import Entry, Figures, Race, Task, run, show

HERE = Path(__file__).parent
RECIPES = HERE.parents[1] / "recipes"
LOOPS = (
    "ours", "by hand", "usual script", "Lightning", "Lightning, from memory", "Accelerate", "Accelerate, from memory",
    "products alone",
)  # fmt: skip
F1, RESNET = Task(recipe="mnist_f1"), Task(recipe="resnet44")
RESNET20 = replace(RESNET, network="resnet20", batch=1024, ghost=128)
GIB_OF_RESNET44_AT_4096 = 20
"""4.6 MB an example at 256 and 512."""


def loops(task: Task, name: str, updates: int, rounds: int) -> Iterator[Race]:
    """Our loop beside those of others, in both precisions."""
    for precision in ("float32", "bf16"):
        entries = tuple(Entry(kind, replace(task, kind=kind, precision=precision)) for kind in LOOPS)
        yield Race(f"{name} at {task.batch}, {precision}", entries, updates, rounds)


def ghosts() -> Iterator[Race]:
    """Ghost batch norm and plain batch norm, in our loop."""
    yield Race("F1 at 4096", both_norms(replace(F1, batch=4096)), 4, 7)
    yield Race("ResNet-20 at 1024", both_norms(RESNET20), 1, 5)


def large() -> Iterator[Race]:
    """The same for a training that fills the memory."""
    if available_gib() >= GIB_OF_RESNET44_AT_4096:
        yield Race("ResNet-44 at 4096", both_norms(replace(RESNET, batch=4096)), 1, 3, apart=True)
    else:
        print(f"ResNet-44 at 4096: left out, it needs {GIB_OF_RESNET44_AT_4096} GiB of free memory", flush=True)


def both_norms(task: Task) -> tuple[Entry, Entry]:
    """The task with ghosts, and without."""
    return Entry("ghosts of 128", replace(task, ghost=128)), Entry("plain batch norm", replace(task, ghost=None))


def available_gib() -> float:
    """The memory that Linux could give to a new process; infinite where it does not say."""
    facts = Path("/proc/meminfo")
    for line in facts.read_text().splitlines() if facts.exists() else ():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 2**20
    return float("inf")


def memory() -> Iterator[Race]:
    """Freed memory that stays with the process, and memory that goes back to the system."""
    for name, task, updates in (("ResNet-44 at 128", RESNET, 3), ("ResNet-20 at 1024, ghosts of 128", RESNET20, 1)):
        entries = (
            Entry("freed memory kept", task),
            Entry("freed memory returned", replace(task, keeps_memory=False)),
        )
        yield Race(name, entries, updates, 5)


def bf16() -> Iterator[Race]:
    """Our loop in both precisions."""
    for name, task, updates in (("F1 at 128", F1, 60), ("ResNet-44 at 128", RESNET, 3)):
        yield Race(name, (Entry("bf16", replace(task, precision="bf16")), Entry("float32", task)), updates, 7)


def layers() -> Iterator[Race]:
    """One layer at 4096, on its own, idle and beside a busy process."""
    for shape, last in (((32, 16, 16), False), ((32, 16, 16), True), ((512,), False)):
        tasks = {
            kind: Task(kind, batch=4096, ghost=128, shape=shape, channels_last=last)
            for kind in ("nn.BatchNorm", "slices", "interleaved")
        }
        entries = tuple(
            Entry(kind + (BESIDE_ONE if beside else ""), task, beside)
            for beside in (0, 1)
            for kind, task in tasks.items()
        )
        name = f"(4096, {', '.join(map(str, shape))}){', channels_last' if last else ''}"
        yield Race(name, entries, 5 if len(shape) > 1 else 20, 9)


def busy() -> Iterator[Race]:
    """Our loop beside no, one and two busy processes."""
    for name, plain, updates in (("F1 at 128", F1, 60), ("F1 at 4096", replace(F1, batch=4096, ghost=128), 3)):
        task = replace(plain, looks=True)
        yield Race(
            name, tuple(Entry(word, task, n) for n, word in enumerate(("idle", *BUSY))), updates, 5, settles=True
        )


def races(made: Iterator[Race], *, quick: bool) -> Iterator[Figures]:
    """What races measured; if quick, two short rounds at small batches, of nothing that needs much memory."""
    for race in made:
        if not quick:
            yield run(race)
        elif not race.apart:
            entries = tuple(replace(e, task=replace(e.task, batch=32, ghost=e.task.ghost and 8)) for e in race.entries)
            yield run(replace(race, entries=entries, updates=1, rounds=2))


def start_up(*, quick: bool) -> Iterator[Figures]:
    """From the command to the first update of the digits, which `train` reports at once."""
    seconds = []
    for _ in range(1 if quick else 5):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            command = [sys.executable, "-m", "lbadvisor", "train", str(RECIPES / "digits.toml"), "--db", f"{folder}/db"]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
                assert process.stderr is not None
                for line in process.stderr:
                    if line.startswith("update "):
                        seconds.append(time.perf_counter() - begin)
                        break
                process.kill()
    yield Figures("from `lbadvisor train recipes/digits.toml` to the first update", "s", {"": seconds})


def accuracy(*, quick: bool) -> Iterator[Figures]:
    """F1's accuracy on MNIST in both precisions, three seeds. Needs LBADVISOR_DATA."""
    percent: dict[str, list[float]] = {"float32": [], "bf16": []}
    with tempfile.TemporaryDirectory() as folder:
        database = ["--db", f"{folder}/runs.db"]
        for seed in range(3):
            for precision, its in percent.items():
                words = ["train", RECIPES / "mnist_f1.toml", "--schedule-scale", "0.01" if quick else "0.1"]
                words += ["--seed", seed, "--set", f"compute.precision={precision}", "--name", f"{precision}-{seed}"]
                lbadvisor(*words, *database)
                last = json.loads(lbadvisor("runs", "--json", *database))["runs"][-1]
                its.append(round(last["final_accuracy_percent"], 2))
    yield Figures("F1 on MNIST, four epochs: accuracy on the test set", "%", percent)


def lbadvisor(*words: object) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "lbadvisor", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def overhead(*, quick: bool) -> Iterator[Figures]:
    """What measuring, evaluating, storing and saving add to the updates of F1."""
    yield from _of_script("overhead.py", "--rounds", "1" if quick else "9")


def comparing(*, quick: bool) -> Iterator[Figures]:
    """`lbadvisor compare` of many runs."""
    small = ("--runs", "3", "--measurements", "100", "--repeats", "1") if quick else ()
    yield from _of_script("comparison_report.py", *small)


def _of_script(name: str, *words: str) -> Iterator[Figures]:
    """The figures that a script of this folder writes as JSON."""
    command = [sys.executable, str(HERE / name), "--json", *words]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    yield Figures(**json.loads(out))


PARTS: dict[str, Callable[..., Iterator[Figures]]] = {
    "f1": lambda *, quick: races(loops(F1, "F1", 40, 7), quick=quick),
    "resnet44": lambda *, quick: races(loops(RESNET, "ResNet-44", 2, 5), quick=quick),
    "layer": lambda *, quick: races(layers(), quick=quick),
    "ghost": lambda *, quick: races(ghosts(), quick=quick),
    "memory": lambda *, quick: races(memory(), quick=quick),
    "bf16": lambda *, quick: races(bf16(), quick=quick),
    "busy": lambda *, quick: races(busy(), quick=quick),
    "start": start_up,
    "overhead": overhead,
    "accuracy": accuracy,
    "compare": comparing,
    "large": lambda *, quick: races(large(), quick=quick),
}


def machine() -> dict[str, object]:
    """What the figures are true of."""
    return {
        "cpu": processor(),
        "threads": os.cpu_count(),
        "python": platform.python_version(),
        **{name: installed(name) for name in ("torch", "lightning", "accelerate")},
        "date": datetime.now(UTC).date().isoformat(),
        "load": os.getloadavg()[0],
    }


def processor() -> str:
    """The CPU's name."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def installed(package: str) -> str | None:
    """Its version, if it is there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    """Measure the parts asked for, and write all that the JSON file then holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="kept from run to run, a part at a time")
    parser.add_argument("--markdown", type=Path, help="where to write the tables")
    parser.add_argument("--readme", type=Path, help="a README to put them in, between its two marks")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS), help="nothing: only write the tables")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try it: the numbers mean nothing")
    options = parser.parse_args()
    parts = json.loads(options.json.read_text()) if options.json.exists() else {}
    begin = time.monotonic()
    for name in options.only:
        here, found = machine(), []
        try:
            for figures in PARTS[name](quick=options.quick):
                show(figures)
                found.append(asdict(figures))
                parts[name] = {"machine": here, "figures": found}
                options.json.write_text(json.dumps(parts, indent=1) + "\n")
        except Exception as error:
            print(f"{name} FAILED: {type(error).__name__}: {error}", flush=True)
        print(f"-- {name}: {(time.monotonic() - begin) / 60:.1f} minutes since the start\n", flush=True)
    if options.markdown:
        options.markdown.write_text(markdown(parts))
    if options.readme:
        options.readme.write_text(inserted(options.readme.read_text(), markdown(parts)))


if __name__ == "__main__":
    main()
