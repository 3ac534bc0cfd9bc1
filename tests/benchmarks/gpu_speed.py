"""How fast training is on a GPU, next to a hand-written eager loop and to the bound that the device sets.

    python tests/benchmarks/gpu_speed.py --json gpu.json [--minutes 9.5] [--only networks bits counts ...]

One command for a CUDA machine, ten minutes there: what has not begun when the minutes are over is left out, and what
fails is noted and passed over. It writes gpu.json as it proceeds, and at the end a table, gpu.md. On a CPU,
`--device cpu --quick` tries it, without what only CUDA has (TF32, kernels, CUDA graphs, peak memory, the cost of
determinism).

ResNet-44 on CIFAR-10 in the device's memory: real where LBADVISOR_DATA has it, else random images of its shape, which
is said. "ours" is `lbadvisor.training.loop.train` as a run drives it, its kernels deterministic; "by hand" is the same
training written out in plain torch with plain batch norm, with torch's own choice of kernels and cudnn.benchmark. The
competitors make some updates in turn, round after round, the device awaited around each; a time is the median over the
rounds with its range.

The bound. Operations: 2 for each multiply-add of all convolutions and the linear layer, thrice (forward, backward to
the inputs and to the weights), as `FlopCounterMode` counts them in a forward pass; at the rate of a large matrix
product in the same precision, measured. Bytes: what layers read and write of activations and their gradients, seen by
forward hooks, where a layer is a sweep of its own and ReLU, the sum with the shortcut, casts and pooling are free, done
in passing. With r the bytes of a layer's input, w of its output: a convolution or linear layer moves r + w forward, and
backward 2w (the gradient comes twice, for inputs and for weights) + 2r (its input is read, its input's gradient
written); batch norm moves 2r + w forward, for its statistics need all of its input first, and backward 2(r + w) + r
likewise. Weights and optimizer are left out: less than a thousandth here. In bf16 an activation has 2 bytes, else 4. At
the rate of a large copy, measured. The bound of a time is the larger of the two; their sum is what it is without any
overlap.

Peak memory is what an update adds, at its peak, to what lay there before it: activations, gradients and the batch.
"""

import argparse
import os
import platform
import statistics
import time
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path

# Read when CUDA's matrix library starts: as a run sets it, for deterministic products.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch
from bench import AS_A_RUN, AS_BY_HAND, Bench, Kernels, spread, under
from contestants import Competitor, by_hand, measured, overridden, random_images
from ghost_batch_norm import SHAPES
from gpu_parts import assembly, bits, counts, graphs, networks, streaming, the_rest
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lbadvisor.batch_cuts import ghost_slices
from lbadvisor.nn.all_ghosts_at_once import AllGhostsAtOnce
from lbadvisor.nn.ghost_batch_norm import _SliceBySlice, normalize_at_once, normalize_interleaved
from lbadvisor.recipe.recipe import Recipe
from lbadvisor.recipe.recipe_tables import Compute
from lbadvisor.training.data.in_memory import InMemory
from lbadvisor.training.models import MODELS
from lbadvisor.training.models.resnet import resnet
from lbadvisor.training.precision import set_tf32

RECIPE = Path(__file__).parents[2] / "recipes" / "resnet44.toml"
PARTS = (
    "networks", "bits", "counts", "ceilings", "assembly", "layers", "eager", "the rest", "streaming", "graphs",
    "determinism", "compiled",
)  # fmt: skip
PRECISIONS = {"float32": Compute(), "tf32": Compute(tf32=True), "bf16": Compute(precision="bf16")}


def show_layers(bench: Bench, batch_size: int, ghost: int) -> None:
    """The forms of ghost batch norm against `nn.BatchNorm2d`, forward and backward, in both memory formats.

    Interleaved ghosts are a view if the tensor is contiguous, and a copy in channels_last.
    """
    print(f"\nBatch norm's layers, batch {batch_size}, ghost {ghost}, forward + backward, ms; n = {bench.rounds}")
    for memory_format in (torch.channels_last, torch.contiguous_format):
        for dtype in (torch.float32, torch.bfloat16):
            for shape in SHAPES:
                x = torch.randn(batch_size, *shape, device=bench.device, dtype=dtype)
                if x.dim() == 2 and memory_format == torch.channels_last:
                    continue
                _show_layer(bench, x.contiguous(memory_format=memory_format).requires_grad_(), ghost)
    torch.compiler.reset()


def _show_layer(bench: Bench, x: Tensor, ghost: int) -> None:
    batch_size, channels, *space = x.shape
    grad_y, sizes = torch.randn_like(x), ghost_slices(batch_size, ghost)
    weight, bias = (torch.ones(channels, device=bench.device, requires_grad=True) for _ in range(2))
    mean, var = (torch.ones(channels, device=bench.device) for _ in range(2))
    arguments = weight, bias, mean, var, sizes, (0.1,) * len(sizes), 1e-5

    def at_once(x: Tensor) -> Tensor:
        return normalize_at_once(x, *arguments)

    forwards: dict[str, Callable[[Tensor], Tensor]] = {
        "nn.BatchNorm": (nn.BatchNorm2d if space else nn.BatchNorm1d)(channels).to(bench.device),
        "at once, a run's": lambda x: AllGhostsAtOnce.apply(x, *arguments),
        "at once, autograd": at_once,
        "native per ghost": lambda x: _SliceBySlice.apply(x, *arguments),
        "interleaved": lambda x: normalize_interleaved(x, *arguments),
    }
    if bench.device.type == "cuda":
        forwards["at once, compiled"] = torch.compile(at_once, fullgraph=True, dynamic=False)

    def once(forward: Callable[[Tensor], Tensor]) -> None:
        x.grad = None
        forward(x).backward(grad_y)

    AS_A_RUN.choose()
    calls = {name: partial(once, forward) for name, forward in forwards.items()}
    its = bench.seconds(calls, 10 if bench.device.type == "cuda" else 1)
    memory_format = "contiguous" if x.is_contiguous() else "channels_last"
    kind = f"{'x'.join(map(str, (channels, *space)))} {str(x.dtype).removeprefix('torch.')} {memory_format}"
    for name, seconds in its.items():
        ratio = [a / b for a, b in zip(seconds, its["nn.BatchNorm"], strict=True)]
        print(f"  {kind:<32} {name:<18} {spread(seconds, 1000)}  over nn.BatchNorm {spread(ratio)}", flush=True)
        bench.note(
            "layer", shape=(channels, *space), dtype=str(x.dtype), memory_format=memory_format, batch=batch_size,
            ghost=ghost, name=name, seconds=seconds,
        )  # fmt: skip


def matrix_rates(bench: Bench, precisions: list[str]) -> dict[str, float]:
    """Multiplications and additions per second of a large product, by precision: the median."""
    side, rates = 8192 if bench.device.type == "cuda" else 1024, {}
    for name in precisions:
        set_tf32(PRECISIONS[name])
        dtype = torch.bfloat16 if name == "bf16" else torch.float32
        left, right = (torch.randn(side, side, device=bench.device, dtype=dtype) for _ in range(2))
        out = torch.empty_like(left)
        (seconds,) = bench.seconds({name: partial(torch.mm, left, right, out=out)}, 3).values()
        rates[name] = 2 * side**3 / statistics.median(seconds)
        print(f"  product of {side} x {side}, {name:<8} {rates[name] / 1e12:8.2f} TFLOP/s", flush=True)
        bench.note("product", side=side, precision=name, seconds=seconds)
    return rates


def copy_rate(bench: Bench) -> float:
    """Bytes read and written per second by a large copy: the median."""
    values = (1 << 30 if bench.device.type == "cuda" else 1 << 27) // 4
    source = torch.randn(values, device=bench.device)
    target = torch.empty_like(source)
    (seconds,) = bench.seconds({"copy": partial(target.copy_, source)}, 5).values()
    rate = 2 * source.nbytes / statistics.median(seconds)
    print(f"  copy of {source.nbytes >> 20} MiB             {rate / 1e9:8.0f} GB/s, read and written", flush=True)
    bench.note("copy", bytes=source.nbytes, seconds=seconds)
    return rate


def work_of_an_example(bench: Bench) -> tuple[float, float]:
    """Operations, and activations read and written, of one example in a forward and backward pass.

    See the module's docstring.
    """
    examples = 4
    model = MODELS[bench.recipe.model.name](bench.dataset.shape, bench.dataset.classes).to(bench.device)
    moved = 0

    def watch(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal moved
        r, w = inputs[0].numel(), output.numel()
        is_norm = isinstance(layer, nn.BatchNorm2d)
        moved += 2 * r + w + 2 * (r + w) + r if is_norm else r + w + 2 * w + 2 * r

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            layer.register_forward_hook(watch)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.randn(examples, *bench.dataset.shape, device=bench.device))
    return 3 * counter.get_total_flops() / examples, moved / examples


def show_training(
    bench: Bench, batch_size: int, ghost: int | None, precision: str, compiles: bool, ceilings: dict[str, float]
) -> None:
    """Ours eager and compiled, against by hand and the bound."""
    recipe = overridden(
        bench.recipe,
        {
            "batch": bench.recipe.batch.model_copy(update={"size": batch_size}),
            "batch_norm": bench.recipe.batch_norm.model_copy(update={"ghost_batch_size": ghost}),
            "compute": PRECISIONS[precision],
        },
    )
    compiled = overridden(recipe, {"compute": recipe.compute.model_copy(update={"compile": True})})
    updates = bench.updates_of(batch_size)
    set_tf32(recipe.compute)
    competitors = [
        Competitor("by hand, eager", under(AS_BY_HAND, by_hand(recipe, bench.dataset, bench.device)), updates),
        Competitor("ours", bench.ours(recipe), updates),
    ]
    if compiles:
        competitors.append(Competitor("ours, compiled", bench.ours(compiled), updates))
    seconds = measured(competitors, bench.rounds, bench.wait)
    norm = "plain batch norm" if ghost is None else f"ghost {ghost}"
    print(
        f"\n{recipe.model.name}, batch {batch_size}, {norm}, {precision}; "
        f"n = {bench.rounds} rounds of {updates} updates"
    )
    operations, values = work_of_an_example(bench)
    bound = bounds = None
    if precision in ceilings:
        moved = batch_size * values * (2 if precision == "bf16" else 4)
        bounds = (batch_size * operations / ceilings[precision], moved / ceilings["copy"])
        bound = max(bounds)
        print(
            f"  bound: {batch_size * operations / 1e12:.3f} TFLOP {1000 * bounds[0]:.2f} ms, {moved / 1e9:.2f} GB "
            f"{1000 * bounds[1]:.2f} ms; the larger {1000 * bound:.2f} ms, the sum {1000 * sum(bounds):.2f} ms"
        )
    for competitor, its in zip(competitors, seconds, strict=True):
        peak = peak_bytes(bench, competitor)
        middle = statistics.median(its)
        ratio = statistics.median(hand / one for hand, one in zip(seconds[0], its, strict=True))
        print(
            f"  {competitor.name:<16} {batch_size / middle:10.0f} examples/s  {spread(its, 1000)} ms"
            f"  {ratio:.2f} of by hand"
            + ("" if bound is None else f"  {bound / middle:.0%} of the bound")
            + ("" if peak is None else f"  {peak / 2**30:.2f} GiB"),
            flush=True,
        )
        bench.note(
            "training", network=recipe.model.name, batch=batch_size, ghost=ghost, precision=precision,
            name=competitor.name, updates=updates, seconds=its, bounds=bounds, peak_bytes=peak,
        )  # fmt: skip
    torch.compiler.reset()


def peak_bytes(bench: Bench, competitor: Competitor) -> int | None:
    """What an update adds at its peak to what lies in the device's memory; None on a CPU."""
    if bench.device.type != "cuda":
        return None
    bench.wait()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    next(competitor.training)
    bench.wait()
    return torch.cuda.max_memory_allocated() - before


def show_determinism(bench: Bench, batch_size: int, ghost: int | None, precision: str) -> None:
    """What deterministic kernels cost our loop."""
    recipe = overridden(
        bench.recipe,
        {
            "batch": bench.recipe.batch.model_copy(update={"size": batch_size}),
            "batch_norm": bench.recipe.batch_norm.model_copy(update={"ghost_batch_size": ghost}),
            "compute": PRECISIONS[precision],
        },
    )
    choices = {
        "deterministic, as a run": AS_A_RUN,
        "memory filled first": Kernels(deterministic=True),
        "not deterministic": Kernels(deterministic=False),
        "and cudnn.benchmark": AS_BY_HAND,
    }
    updates = bench.updates_of(batch_size)
    competitors = [Competitor(name, bench.ours(recipe, kernels), updates) for name, kernels in choices.items()]
    seconds = measured(competitors, bench.rounds, bench.wait)
    print(
        f"\nCost of determinism, batch {batch_size}, ghost {ghost}, {precision}; n = {bench.rounds} rounds of {updates}"
    )
    for competitor, its in zip(competitors, seconds, strict=True):
        ratios = [one / first for one, first in zip(its, seconds[0], strict=True)]
        print(f"  {competitor.name:<24} {spread(its, 1000)} ms  time over the first's {spread(ratios)}", flush=True)
        bench.note("determinism", batch=batch_size, ghost=ghost, precision=precision, name=competitor.name, seconds=its)


def data_of(recipe: Recipe, device: torch.device) -> tuple[Recipe, InMemory, str]:
    """CIFAR-10 where LBADVISOR_DATA has it, else random images; on the device."""
    folder = Path(os.environ.get("LBADVISOR_DATA", "")) / "cifar10"
    if os.environ.get("LBADVISOR_DATA") and folder.is_dir():
        # Reading class folders needs packages that random images do not.
        from lbadvisor.training.data.preparation import load_dataset

        count = sum(1 for _ in (folder / "train").glob("*/*"))
        recipe = overridden(recipe, {"data": recipe.data.model_copy(update={"train_examples": count})})
        dataset = load_dataset(recipe, folder.parent, device)
        if isinstance(dataset, InMemory):
            return recipe, dataset, f"{count} images of CIFAR-10"
    examples = recipe.data.train_examples if device.type == "cuda" else 2000
    recipe = overridden(recipe, {"data": recipe.data.model_copy(update={"train_examples": examples})})
    return recipe, random_images(examples, device), f"{examples} random images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 1024, 4096])
    parser.add_argument("--ghost", type=int, default=128, help="where a batch is larger")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--depth", type=int, default=44)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, help="a round; as many as have about 8000 examples if not given")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of a CPU")
    parser.add_argument(
        "--compiled", nargs="*", choices=PRECISIONS, help="which are trained compiled too: on a GPU all, on a CPU none"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", type=Path, help="where to write it; the table goes beside it")
    parser.add_argument("--minutes", type=float, default=9.5, help="what has not begun by then is left out, and named")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try it: a minute on a CPU")
    options = parser.parse_args()
    if options.quick:
        options.batches, options.ghost, options.rounds, options.updates, options.depth = [8, 16], 8, 2, 1, 8
    device = torch.device(options.device)
    is_cuda = device.type == "cuda"
    torch.set_flush_denormal(True)
    torch.set_num_threads(options.threads)

    name = f"resnet{options.depth}"
    MODELS.setdefault(name, resnet(options.depth))  # a short one for trying this out is in no catalog
    recipe = Recipe.model_validate(tomllib.loads(RECIPE.read_text()))
    recipe = overridden(recipe, {"model": recipe.model.model_copy(update={"name": name})})
    recipe, dataset, images = data_of(recipe, device)
    bench = Bench(
        device,
        options.rounds,
        options.threads,
        options.updates,
        recipe,
        dataset,
        [],
        options.json,
        options.quick,
        time.monotonic() + 60 * options.minutes,
    )
    machine = torch.cuda.get_device_name(device) if is_cuda else f"{platform.machine()} CPU, {options.threads} threads"
    print(
        f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}, "
        f"{machine}; {images}"
    )
    bench.note("machine", torch=torch.__version__, cuda=torch.version.cuda, device=machine, images=images)
    precisions = [p for p in options.precisions if is_cuda or p != "tf32"]
    compiled = (precisions if is_cuda else ()) if options.compiled is None else options.compiled
    if not is_cuda:
        print("on a CPU: without TF32, peak memory, the cost of determinism and compiled layers")

    make_parts(bench, options, precisions, compiled)
    table = bench.table()
    if options.json is not None:
        options.json.with_suffix(".md").write_text(table)
    else:
        print("\n" + table)


def make_parts(
    bench: Bench, options: argparse.Namespace, precisions: list[str], compiled: tuple[str, ...] | list[str]
) -> None:
    """All parts that were asked for, first what a first run most needs to know."""
    is_cuda, largest, ceilings = bench.device.type == "cuda", max(options.batches), {}
    pairs = [(n, ghost) for n in options.batches for ghost in (None, options.ghost) if ghost is None or n > ghost]

    def recipe_of(size: int, ghost: int | None, precision: str = "float32") -> Recipe:
        return overridden(
            bench.recipe,
            {
                "batch": bench.recipe.batch.model_copy(update={"size": size}),
                "batch_norm": bench.recipe.batch_norm.model_copy(update={"ghost_batch_size": ghost}),
                "compute": PRECISIONS[precision],
            },
        )

    def measure_ceilings() -> None:
        ceilings.update({"copy": copy_rate(bench), **matrix_rates(bench, precisions)})

    def race(compiles: bool) -> list[Callable[[], object]]:
        return [
            partial(show_training, bench, size, ghost, precision, compiles, ceilings)
            for size, ghost in (pairs if not compiles else pairs[-1:] + pairs[:-1])
            for precision in precisions
            if not compiles or precision in compiled
        ]

    usual = recipe_of(*pairs[-1])
    pieces: dict[str, list[Callable[[], object]]] = {
        "networks": [partial(networks, bench)],
        "bits": [partial(bits, bench, recipe_of(*pairs[-1], precision)) for precision in precisions],
        "counts": [partial(counts, bench, recipe_of(*pair)) for pair in pairs],
        "ceilings": [measure_ceilings],
        "assembly": [partial(assembly, bench, recipe_of(size, None)) for size in options.batches],
        "layers": [partial(show_layers, bench, largest, options.ghost)] if largest > options.ghost else [],
        "eager": race(compiles=False),
        "the rest": [partial(the_rest, bench, usual)],
        "streaming": [partial(streaming, bench, usual)],
        "graphs": [
            partial(graphs, bench, recipe_of(size, None, precision))
            for size in options.batches
            for precision in precisions
        ],
        "determinism": [partial(show_determinism, bench, *pair, precisions[-1]) for pair in pairs if is_cuda],
        "compiled": race(compiles=True),
    }
    for part, its in pieces.items():
        if part in options.only and its:
            print(f"\n{part.capitalize()}", flush=True)
            for piece in its:
                bench.make(part, piece)


if __name__ == "__main__":
    main()
