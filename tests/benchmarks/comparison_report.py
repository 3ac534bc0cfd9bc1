"""How long `lbadvisor compare` takes for many long runs, as a table and as a page, and how large the page is.

    python tests/benchmarks/comparison_report.py --runs 200 --measurements 10000 --seeds 1

makes a database of that size with SQL (run r has the seed r mod --seeds; it is clipped during its first 1000 updates
and evaluated at every tenth), compares all its runs, and prints the seconds of the whole process, importing included:
the best of --repeats.
"""

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Batch, Data, Model, Sgd
from lbadvisor.recipe.schedule_tables import Schedule
from lbadvisor.records.run import Environment, RunStatus
from lbadvisor.store import Store

HERE = Environment("cpu", "none: made with SQL", "0.1.0", "3.11.0", "2.15.0", None, None)
FILL = """
INSERT INTO measurements
SELECT runs.number, u.value, u.value * 32 / 1024.0, u.value * 32,
       2.3 * exp(-u.value / 3000.0) + 0.3 * abs(random() / 9.3e18), 0.01, 1 + abs(random() / 9.3e18),
       CASE WHEN u.value <= 1000 THEN 0.5 ELSE 0.0 END,
       1.5 * ln(1 + u.value), CASE WHEN u.value % 10 = 0 THEN 0.3 END,
       CASE WHEN u.value % 10 = 0 THEN 95 - 60 * exp(-u.value / 2000.0) + abs(random() / 9.3e18) END, u.value * 0.01
FROM runs, (WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < ?)
            SELECT value FROM n) AS u
"""


def fill(path: Path, runs: int, measurements: int, seeds: int) -> list[str]:
    """Make the database; the names of its runs."""
    with Store.open(path, create=True) as store:
        for number in range(runs):
            recipe = Recipe(
                schema=1,
                name="small",
                data=Data(name="digits", train_examples=1024),
                model=Model(name="digits_mlp"),
                batch=Batch(size=32),
                optimizer=Sgd(name="sgd", lr=0.01 + 0.001 * (number // seeds)),
                schedule=Schedule(updates=measurements),
            )
            run = store.add_run(f"lr{number // seeds}-s{number % seeds}", recipe, number % seeds, measurements, HERE)
            store.set_status(run.number, RunStatus.COMPLETE, None)
        names = store.run_names()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(FILL, (measurements,))
        connection.execute('UPDATE runs SET "update" = ?', (measurements,))
        connection.commit()
    return names


def seconds_of(command: list[str], repeats: int) -> list[float]:
    """Of the whole process, each time."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken.append(time.perf_counter() - start)
    return taken


def main() -> None:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--measurements", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the seconds as JSON and nothing else")
    parser.add_argument("--keep", type=Path, help="a folder to keep the database and the page in")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        database, page, picture = folder / "runs.db", folder / "report.html", folder / "report.png"
        names = fill(database, given.runs, given.measurements, given.seeds)
        compare = [sys.executable, "-m", "lbadvisor", "compare", *names, "--db", str(database)]
        seconds = {
            "a table": seconds_of(compare, given.repeats),
            "a page": seconds_of([*compare, "--html", str(page)], given.repeats),
            "a picture": seconds_of([*compare, "--png", str(picture)], given.repeats),
        }
        what = f"`compare` of {given.runs} runs with {given.measurements:,} measurements each"
        if given.json:
            print(json.dumps({"what": what, "unit": "s", "values": seconds}))
            return
        for name, its in seconds.items():
            print(f"{name:<10} {min(its):6.2f} s")
        print(f"the page has {page.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
