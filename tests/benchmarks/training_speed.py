"""How fast training is next to a hand-written loop with the data in memory, and next to the usual script.

    LBADVISOR_DATA=... python tests/benchmarks/training_speed.py [--rounds 7] [--threads 2] [--only f1 resnet44 ...]

Each competitor makes some updates in turn, round after round, so that all meet the same machine. A ratio is that of one
round; what is printed is the median with the range, next to the median of each competitor's own times. "ours" is
`lbadvisor.training.loop.train` as a run drives it; "by hand" is the same training (network, memory format, optimizer,
augmentation, schedule) written out in plain torch, the data normalized once, in memory; "usual" is the script one finds
everywhere: a `DataLoader` over single examples with transforms, `loss.item()` at each step.

MNIST and CIFAR-10 are read from LBADVISOR_DATA. Where it has no CIFAR-10, random images of its shape stand in, which
is said.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from contestants import Competitor, by_hand, measured, ours, overridden, random_images, usual
from torch import nn

from lbadvisor.errors import DataError
from lbadvisor.recipe.file import load_recipe
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.training.data.in_memory import InMemory
from lbadvisor.training.data.preparation import load_dataset
from lbadvisor.training.models import MODELS

CPU = torch.device("cpu")
RECIPES = Path(__file__).parents[2] / "recipes"


def show(title: str, batch_size: int, competitors: list[Competitor], rounds: int) -> None:
    """Measure, and print one table: speed of the first competitor relative to each of the others."""
    print(f"\n{title}; n = {rounds} rounds")
    print(f"  {'':<24} {'updates':>7} {'ms/update':>10} {'examples/s':>11}  first's speed relative to it (range)")
    seconds = measured(competitors, rounds)
    for competitor, its in zip(competitors, seconds, strict=True):
        middle = statistics.median(its)
        ratios = [other / first for first, other in zip(seconds[0], its, strict=True)]
        relative = f"{statistics.median(ratios):.3f} ({min(ratios):.2f} - {max(ratios):.2f})"
        print(
            f"  {competitor.name:<24} {competitor.updates:>7} {1000 * middle:>10.1f} {batch_size / middle:>11.0f}  "
            f"{'' if competitor is competitors[0] else relative}",
            flush=True,
        )


def matrix_rate(inner: int, rows: int, rounds: int) -> float:
    """Multiplications and additions per second of (rows, inner) @ (inner, inner), float32: the median."""
    left, right, out = torch.randn(rows, inner), torch.randn(inner, inner), torch.empty(rows, inner)
    repeats = max(1, round(4e9 / (2 * rows * inner * inner)))
    rates = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        for _ in range(repeats):
            torch.mm(left, right, out=out)
        rates.append(repeats * 2 * rows * inner * inner / (time.perf_counter() - begin))
    return statistics.median(rates[1:])


def show_bound(recipe: Recipe, dataset: InMemory, threads: int, rounds: int, updates: int) -> None:
    """F1's matrix products at the rate of the machine, against our updates: the share reached."""
    model = MODELS[recipe.model.name](dataset.shape, dataset.classes)
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    # Forward, and backward to the weights; to the input too, but for the first layer's.
    products = sum((3 if i else 2) * 2 * layer.weight.numel() for i, layer in enumerate(layers)) * recipe.batch.size
    of_shape, of_large = matrix_rate(512, recipe.batch.size, rounds), matrix_rate(2048, 2048, rounds)
    (seconds,) = measured([Competitor("ours", ours(recipe, dataset, CPU, threads), updates)], rounds)
    middle = statistics.median(seconds)
    print(
        f"\nF1's matrix products, batch {recipe.batch.size}: {products / 1e9:.3f} GFLOP an update; n = {rounds} rounds"
    )
    for name, rate in ((f"({recipe.batch.size}, 512) @ (512, 512)", of_shape), ("2048 cubed", of_large)):
        bound = products / rate
        print(
            f"  at the rate of {name:<23} {rate / 1e9:6.0f} GFLOP/s: {1000 * bound:6.2f} ms; "
            f"ours {1000 * middle:.2f} ms, share reached {bound / middle:.0%}"
        )


def real_or_random(recipe: Recipe) -> tuple[Recipe, InMemory, str]:
    """The recipe's data set, from LBADVISOR_DATA; else 10 000 random images of CIFAR-10's shape."""
    try:
        given = os.environ.get("LBADVISOR_DATA", "")
        found = Path(given) / recipe.data.name
        if given and found.is_dir():
            count = sum(1 for _ in (found / "train").glob("*/*"))
            recipe = overridden(recipe, {"data": recipe.data.model_copy(update={"train_examples": count})})
        return recipe, load_dataset(recipe, Path(given), CPU), recipe.data.name
    except DataError:
        recipe = overridden(recipe, {"data": recipe.data.model_copy(update={"train_examples": 10_000})})
        return recipe, random_images(10_000, CPU), "random images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("f1", "bound", "resnet44", "bf16", "ghost")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the updates of a round")
    parser.add_argument("--only", nargs="*", choices=parts, default=parts)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(options.threads)
    print(
        f"torch {torch.__version__}, {platform.machine()} CPU, {torch.get_num_threads()} threads, float32 but for bf16"
    )

    def times(updates: int) -> int:
        return max(1, round(updates * options.scale))

    made = partial(race, rounds=options.rounds, threads=options.threads, times=times)
    f1 = load_recipe(RECIPES / "mnist_f1.toml")
    if {"f1", "bound"} & set(options.only):
        dataset = load_dataset(f1, Path(os.environ["LBADVISOR_DATA"]), CPU)
        if "f1" in options.only:
            made(f1, dataset, "F1 on mnist", (100, 100, 50))
        if "bound" in options.only:
            show_bound(f1, dataset, options.threads, options.rounds, times(100))
    if {"resnet44", "bf16", "ghost"} & set(options.only):
        resnet44, dataset, name = real_or_random(load_recipe(RECIPES / "resnet44.toml"))
        if "resnet44" in options.only:
            made(resnet44, dataset, f"ResNet-44 on {name}", (4, 4, 4))
        if "bf16" in options.only:
            bf16 = overridden(resnet44, {"compute": resnet44.compute.model_copy(update={"precision": "bf16"})})
            competitors = [
                Competitor("ours, bf16", ours(bf16, dataset, CPU, options.threads), times(4)),
                Competitor("by hand, bf16", by_hand(bf16, dataset, CPU), times(4)),
                Competitor("ours, float32", ours(resnet44, dataset, CPU, options.threads), times(4)),
                Competitor("usual script, float32", usual(resnet44, dataset), times(4)),
            ]
            show(f"ResNet-44 on {name}, batch 128, bfloat16", 128, competitors, options.rounds)
        if "ghost" in options.only:
            size = min(4096, len(dataset.train.labels_N))
            large = overridden(resnet44, {"batch": resnet44.batch.model_copy(update={"size": size})})
            ghost = overridden(large, {"batch_norm": large.batch_norm.model_copy(update={"ghost_batch_size": 128})})
            competitors = [
                Competitor("ghost 128", ours(ghost, dataset, CPU, options.threads), 1),
                Competitor("plain batch norm", ours(large, dataset, CPU, options.threads), 1),
            ]
            show(f"ResNet-44 on {name}, batch {size}", size, competitors, options.rounds)


def race(
    recipe: Recipe,
    dataset: InMemory,
    title: str,
    updates: tuple[int, int, int],
    *,
    rounds: int,
    threads: int,
    times: Callable[[int], int],
) -> None:
    """Ours, by hand and the usual script on one recipe."""
    competitors = [
        Competitor("ours", ours(recipe, dataset, CPU, threads), times(updates[0])),
        Competitor("by hand, in memory", by_hand(recipe, dataset, CPU), times(updates[1])),
        Competitor("usual script", usual(recipe, dataset), times(updates[2])),
    ]
    show(f"{title}, batch {recipe.batch.size}", recipe.batch.size, competitors, rounds)


if __name__ == "__main__":
    main()
