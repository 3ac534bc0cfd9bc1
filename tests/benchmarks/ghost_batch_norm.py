"""How long ghost batch norm takes next to plain batch norm, forward and backward, on layers of ResNet-44 and F1.

    python tests/benchmarks/ghost_batch_norm.py [--batch-size 4096] [--ghost 128] [--rounds 15] [--threads 2] [--busy 1]

In both layouts, where the memory format allows the interleaved one. Rounds alternate between the layers, so that all
meet the same machine; a ratio is that of one round, and what is printed is their median with the quartiles, and the
median and least milliseconds of each layer. `--busy` processes compute beside them all the while.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import time

import torch
from torch import Tensor, nn

from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm

SHAPES = ((512,), (16, 32, 32), (32, 16, 16), (64, 8, 8))
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def compute_forever() -> None:
    """Keep one core busy."""
    torch.set_num_threads(1)
    square = torch.randn(512, 512)
    while True:
        square @ square


def seconds(layer: nn.Module, x: Tensor, grad_y: Tensor) -> float:
    """Of one forward and backward pass."""
    x.grad = None
    begin = time.perf_counter()
    layer(x).backward(grad_y)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=4096)
    parser.add_argument("--ghost", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--busy", type=int, default=0)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    spawned = multiprocessing.get_context("spawn")
    for _ in range(options.busy):
        spawned.Process(target=compute_forever, daemon=True).start()
    print(f"torch {torch.__version__}, {platform.machine()} CPU, {torch.get_num_threads()} threads, float32")
    print(
        f"batch {options.batch_size}, ghost {options.ghost}, n = {options.rounds} rounds after one unmeasured, "
        f"{options.busy} busy processes\n"
    )
    print(
        f"{'shape':>10}  {'memory format':<14} {'layer':<16} {'GBN/BN':>6}  {'quartiles':>11}  {'median ms':>9}  least"
    )
    for shape in SHAPES:
        for name in FORMATS if len(shape) > 1 else ("contiguous",):
            show(shape, name, options.batch_size, options.ghost, options.rounds)


def show(shape: tuple[int, ...], memory_format: str, batch_size: int, ghost: int, rounds: int) -> None:
    """Measure, and print a line for each layer."""
    x = torch.randn(batch_size, *shape).contiguous(memory_format=FORMATS[memory_format])
    grad_y = torch.randn_like(x)
    x.requires_grad_()
    plain = (nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d)(shape[0])
    layers = {"plain": plain, "ghosts": GhostBatchNorm(shape[0], ghost)}
    if memory_format == "contiguous":
        layers["interleaved"] = GhostBatchNorm(shape[0], ghost, layout="interleaved")
    made = [{name: seconds(layer, x, grad_y) for name, layer in layers.items()} for _ in range(rounds + 1)][1:]
    for name in layers:
        ratios = [its[name] / its["plain"] for its in made]
        low, middle, high = statistics.quantiles(ratios, n=4)
        times = [1000 * its[name] for its in made]
        print(
            f"{'x'.join(map(str, shape)):>10}  {memory_format:<14} {name:<16} {middle:6.2f}  {low:.2f} - {high:.2f}  "
            f"{statistics.median(times):9.1f}  {min(times):.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
