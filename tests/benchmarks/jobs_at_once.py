"""How long a whole ladder takes by several jobs at once and in turn, and that both end with the same table.

    python tests/benchmarks/jobs_at_once.py [--rounds 5] [--jobs 2] [WORDS OF lbadvisor ladder ...]

By default the words are `recipes/digits.toml --to 256`. Each round runs the command in turn and by jobs, each into a
database of its own and with one CPU thread per run, so that the tables are equal to the last digit. What is printed is
the whole command's wall clock: mean and standard deviation over the rounds, and the smallest.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]


def seconds_and_table(words: list[str], jobs: int) -> tuple[float, str]:
    """The wall clock of one command, and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        database = ("--db", str(Path(folder) / "runs.db"))
        command = [sys.executable, "-m", "lbadvisor", "ladder", *words, "--quiet", "--threads", "1", *database]
        began = time.perf_counter()
        done = subprocess.run([*command, "--jobs", str(jobs)], capture_output=True, text=True, check=True)
        return time.perf_counter() - began, done.stdout


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    asked, words = parser.parse_known_args()
    words = words or [str(ROOT / "recipes" / "digits.toml"), "--to", "256"]
    took: dict[int, list[float]] = {1: [], asked.jobs: []}
    tables = set()
    for _ in range(asked.rounds):
        for jobs, seconds in took.items():
            one, table = seconds_and_table(words, jobs)
            seconds.append(one)
            tables.add(table)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    for jobs, seconds in took.items():
        spread = f" ± {statistics.stdev(seconds):.1f}" if asked.rounds > 1 else ""
        mean, least = statistics.fmean(seconds), min(seconds)
        print(f"--jobs {jobs}: {mean:.1f}{spread} s, smallest {least:.1f} s, n = {asked.rounds}")
    ratio = statistics.fmean(took[1]) / statistics.fmean(took[asked.jobs])
    print(f"in turn / at once: {ratio:.2f}; the tables are {'equal' if len(tables) == 1 else 'NOT EQUAL'}")


if __name__ == "__main__":
    main()
