"""How long ghost batch norm takes next to plain batch norm, forward and backward, on the layers of ResNet-44.

    python tests/benchmarks/ghost_batch_norm.py [--batch-size 4096] [--ghost 128] [--rounds 15] [--threads 1]

Rounds alternate between the two layers, so that both meet the same machine; a ratio is that of one round, and what is
printed is their median with the quartiles, and the median seconds of each layer.
"""

import argparse
import os
import platform
import statistics
import time

import torch
from torch import Tensor, nn

from lbadvisor.nn.ghost_batch_norm import GhostBatchNorm

SHAPES = ((16, 32, 32), (32, 16, 16), (64, 8, 8))
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


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
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {platform.machine()} CPU, {torch.get_num_threads()} threads, float32")
    print(f"batch {options.batch_size}, ghost {options.ghost}, n = {options.rounds} rounds after one unmeasured\n")
    print(f"{'shape':>10}  {'memory format':<14} {'GBN/BN':>7}  {'quartiles':>11}  {'BN ms':>7}  {'GBN ms':>7}")
    for channels, *space in SHAPES:
        for name, memory_format in FORMATS.items():
            x = torch.randn(options.batch_size, channels, *space).contiguous(memory_format=memory_format)
            grad_y = torch.randn_like(x)
            x.requires_grad_()
            plain, ghost = nn.BatchNorm2d(channels), GhostBatchNorm(channels, options.ghost)
            pairs = [(seconds(plain, x, grad_y), seconds(ghost, x, grad_y)) for _ in range(options.rounds + 1)][1:]
            ratios = [after / before for before, after in pairs]
            low, middle, high = statistics.quantiles(ratios, n=4)
            before, after = (1000 * statistics.median(times) for times in zip(*pairs, strict=True))
            shape = "x".join(map(str, (channels, *space)))
            print(f"{shape:>10}  {name:<14} {middle:7.2f}  {low:.2f} - {high:.2f}  {before:7.1f}  {after:7.1f}")


if __name__ == "__main__":
    main()
