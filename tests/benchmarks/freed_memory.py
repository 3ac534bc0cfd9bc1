"""How much faster an update is if freed memory stays with the process: alternating processes of each kind.

    python tests/benchmarks/freed_memory.py [--network resnet44] [--precision float32] [--batch-size 128]

A ratio is that of one round: seconds of the median update with glibc's defaults, by seconds with the memory kept. What
is printed is the median of the ratios with the lowest and the highest.
"""

import argparse
import statistics
import subprocess
import sys
import time

import torch
from torch.nn.functional import cross_entropy

from lbadvisor.training.allocator import keep_freed_memory
from lbadvisor.training.models import build_model

UNMEASURED = 3


def seconds_of_an_update(options: argparse.Namespace) -> float:
    """The median of the updates of this process, after a few that are not measured."""
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    shape = (1, 28, 28) if options.network == "f1" else (3, 32, 32)
    images, labels = torch.randn(options.batch_size, *shape), torch.randint(10, (options.batch_size,))
    model = build_model(options.network, shape, 10)
    if options.network != "f1":
        model, images = (one.to(memory_format=torch.channels_last) for one in (model, images))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    seconds = []
    for _ in range(UNMEASURED + options.updates):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
            logits = model(images)
        cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[UNMEASURED:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet44")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", choices=("returned", "kept"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        if options.one == "kept" and not keep_freed_memory():
            sys.exit("this C library is left alone: there is nothing to compare")
        print(seconds_of_an_update(options))
        return
    ratios = []
    for _ in range(options.rounds):
        returned, kept = (
            float(subprocess.check_output([sys.executable, *sys.argv, "--one", how])) for how in ("returned", "kept")
        )
        ratios.append(returned / kept)
        print(f"{1000 * returned:.1f} ms returned, {1000 * kept:.1f} ms kept: {ratios[-1]:.2f}", flush=True)
    print(f"{statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f}), n = {len(ratios)}")


if __name__ == "__main__":
    main()
