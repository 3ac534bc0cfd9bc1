"""What evaluating, measuring, storing and saving cost a run at its recipe's cadence, as a share of the run.

    LBADVISOR_DATA=... python tests/benchmarks/overhead.py [--recipe recipes/mnist_f1.toml] [--rounds 9] [--threads 2]
        [--set batch.size=4096 --set batch_norm.ghost_batch_size=128]

Layers and noise are what --measure adds; noise at its most, which is once in 100 updates.

Each part is timed by itself, in turn with plain updates, round after round; what is printed is the median of each and
what it comes to in a run: its time, as often as the recipe asks for it, over that of the run's updates. (A run as a
whole against its updates alone says less: the difference is smaller than what a shared machine's noise makes of it.)
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from lbadvisor.planning.batch_division import micro_slices
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.recipe_tables import Measurements
from lbadvisor.recipe.schedule import in_updates
from lbadvisor.records.run import Environment, Measurement
from lbadvisor.runs.recording import FLUSH_SECONDS
from lbadvisor.store import Store
from lbadvisor.training.data.preparation import load_dataset
from lbadvisor.training.evaluation import evaluate
from lbadvisor.training.layer_readings import layer_readings
from lbadvisor.training.loop import train
from lbadvisor.training.micro_batches import whole_batch
from lbadvisor.training.noise_readings import NOISE_EVERY_UPDATES, noise_readings
from lbadvisor.training.state import save_checkpoint, start_state
from lbadvisor.training.update_batch import add_gradients, update_batch

CPU = torch.device("cpu")
RECIPES = Path(__file__).parents[2] / "recipes"


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=RECIPES / "mnist_f1.toml")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--json", action="store_true", help="print the sum of each round, in percent, and nothing else")
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    recipe = in_updates(load_recipe(options.recipe, options.overrides))
    dataset = load_dataset(recipe, Path(os.environ["LBADVISOR_DATA"]), CPU)
    updates, cadence = recipe.schedule.updates, recipe.measurements
    assert updates is not None
    assert cadence.every_updates is not None
    assert cadence.evaluate_every_updates is not None

    def training(every_updates: int | None) -> Callable[[], object]:
        measured = recipe.model_copy(update={"measurements": Measurements(every_updates=every_updates)})
        state = start_state(measured, 0, dataset.shape, dataset.classes, CPU)
        state.threads = options.threads
        steps = train(state, dataset)
        return lambda: next(steps)

    def read_noise() -> object:
        return noise_readings(state, dataset, batch)

    plain, measuring = training(None), training(1)
    state = start_state(recipe, 0, dataset.shape, dataset.classes, CPU)
    state.threads = options.threads
    batch = update_batch(state, dataset, 0)
    add_gradients(state, batch, state.model, micro_slices(whole_batch(recipe, state.model), None))
    repeats = max(4, 5120 // recipe.batch.size)
    update_seconds, measure_seconds, layer_seconds, noise_seconds, evaluate_seconds, store_seconds, save_seconds = (
        [] for _ in range(7)
    )
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "runs.db", create=True) as store:
        run = store.add_run("timed", recipe, 0, updates, Environment("cpu", "", "", "", "", None, None))
        for turn in range(options.rounds + 1):
            alone, beside = (statistics.median(timed(step) for _ in range(repeats)) for step in (plain, measuring))
            rows = [Measurement(turn + 1, 0.1, 128, 1.0, 0.1, 1.0, 0.0, 1.0, 1.0, 90.0, 1.0)]
            parts = (
                (update_seconds, alone),
                (measure_seconds, max(0.0, beside - alone)),
                (layer_seconds, statistics.median(timed(lambda: layer_readings(state)) for _ in range(10))),
                (noise_seconds, statistics.median(timed(read_noise) for _ in range(repeats))),
                (evaluate_seconds, timed(lambda: evaluate(state, dataset))),
                (store_seconds, timed(lambda rows=rows: store.record(run.number, rows))),
                (save_seconds, timed(lambda: save_checkpoint(Path(folder) / "checkpoints", state))),
            )
            if turn:
                for kept, seconds in parts:
                    kept.append(seconds)
    per_update = statistics.median(update_seconds)
    whole = updates * per_update
    parts = {
        "measuring": (measure_seconds, updates / cadence.every_updates),
        "evaluating": (evaluate_seconds, updates / cadence.evaluate_every_updates),
        "storing": (store_seconds, min(whole / FLUSH_SECONDS, updates / cadence.every_updates)),
        "checkpoints": (save_seconds, 1 + whole / recipe.checkpoints.every_seconds),
        "layers": (layer_seconds, updates / cadence.every_updates),
        "noise": (noise_seconds, updates / max(cadence.every_updates, NOISE_EVERY_UPDATES)),
    }
    percent = {name: [100 * count * each / whole for each in seconds] for name, (seconds, count) in parts.items()}
    *usual, layers, noise = percent.values()
    sums = {"as the recipe asks": list(map(sum, zip(*usual, strict=True))), "--measure layers": layers}
    sums["--measure noise"] = noise
    if options.json:
        what = f"what measuring, evaluating, storing and saving add to {recipe.name}'s updates at {recipe.batch.size}"
        print(json.dumps({"what": what, "unit": "% of their time", "values": sums}))
        return
    print(f"torch {torch.__version__}, {options.threads} threads, n = {options.rounds} rounds")
    print(f"{recipe.name}: {updates} updates of {1000 * per_update:.2f} ms at batch {recipe.batch.size}, {whole:.0f} s")
    for name, (seconds, count) in parts.items():
        print(
            f"  {name:<12} {1000 * statistics.median(seconds):8.2f} ms, {count:7.0f} times: {spread(percent[name])} %"
        )
    for name, its in sums.items():
        print(f"  together, {name}: {spread(its)} % of the updates' time")


def spread(values: list[float]) -> str:
    """The median and the range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
